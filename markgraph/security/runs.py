"""Runs that keep to their limits and are taken down when they fail, wherever a graph is run from."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import cache, partial
from typing import Any, Protocol, TypeVar, cast
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, merge_configs
from langgraph.errors import GraphBubbleUp, GraphRecursionError
from langgraph.graph.state import CompiledStateGraph

from markgraph.errors import LimitError
from markgraph.security.caller import Caller
from markgraph.security.counters import memory
from markgraph.security.limits import Limits

Compiled = TypeVar("Compiled", bound=CompiledStateGraph[Any, Any, Any, Any])
RUN = "__markgraph_run"
"""Where a run's nodes find it in `configurable`; two underscores keep it out of checkpoints."""
_CHARACTERS = 4
"""Characters of a prompt that are taken for a token where the model did not come to say how many it has."""


class Record(Protocol):
    """What a run leaves in the audit log."""

    @property
    def caller(self) -> Caller:
        """Return whose run it is."""

    @property
    def run_id(self) -> str:
        """Return what the log calls it."""

    def failed(self, error: BaseException) -> None:
        """Take down that it failed."""


class Run(BaseCallbackHandler):
    """One run of a graph: its caller's place, its clock, and the tokens that its models use.

    As a callback it hears of every call of a model in the run, whichever node or tool makes it.
    """

    raise_error = True
    run_inline = True

    def __init__(self, limits: Limits) -> None:
        """Start the clock."""
        self.limits = limits
        self._ends = None if limits.wall_time is None else time.monotonic() + limits.wall_time
        self._is_over = False
        self._caller: Caller | None = None
        self._record: Record | None = None
        self._failed: set[str] = set()
        self._name = uuid4().hex
        self._lock = threading.Lock()
        self._calls: dict[UUID, int] = {}
        self._spent: list[int] = []

    def enter(self, record: Record) -> None:
        """Let the run begin, or begin again after it waited for a person; every node asks this first.

        Raises:
            LimitError: the caller has used their share, or the run its time.
        """
        with self._lock:
            self._record = self._record or record
        self.check_time()
        with self._lock:
            if self._caller is None:
                self.limits.check_tokens(record.caller)
                self.limits.take_place(record.caller, self._name)
                self._caller = record.caller
            self._charge()

    def failed(self, error: BaseException, record: Record | None = None) -> None:
        """Take down what a run failed with, once: a node's error comes by its stream again.

        Args:
            error: what it failed with.
            record: of which run, where it is a node's; None: of this one, between its nodes.
        """
        with self._lock:
            record = record or self._record
            if record is None or record.run_id in self._failed or isinstance(error, GraphBubbleUp):
                return
            self._failed.add(record.run_id)
        record.failed(error)

    def leave(self) -> None:
        """Give the place back, and charge what calls have used that did not come to their end."""
        with self._lock:
            if self._caller is not None:
                self._spent.extend(self._calls.values())
                self._calls.clear()
                self._charge()
                self.limits.give_back_place(self._caller, self._name)
            self._caller = None

    def stop(self) -> None:
        """Stop what still goes on, at the next token: nobody waits for it."""
        self._is_over = True

    def seconds_left(self) -> float | None:
        """Return how long the run may go on; None for ever."""
        return None if self._ends is None else self._ends - time.monotonic()

    def check_time(self) -> None:
        """Stop a run that has used its time, or that nobody waits for.

        Raises:
            LimitError: it has.
        """
        if self._is_over:
            raise LimitError("Nobody waits for this run any more.")
        left = self.seconds_left()
        if left is not None and left <= 0:
            raise self.too_long()

    def too_long(self) -> LimitError:
        """Return what a run is stopped with."""
        return LimitError(
            f"This run took longer than {self.limits.wall_time:g} s, as long as a run may, and was stopped. "
            "Ask for less at once, or try again when less is going on."
        )

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 -- LangChain's names
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Take note of a call's prompt."""
        self.check_time()
        self._calls[run_id] = sum(len(m.text) for prompt in messages for m in prompt) // _CHARACTERS

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """Count a token; stop the call when the run's time is up."""
        self.check_time()
        self._calls[run_id] = self._calls.get(run_id, 0) + 1

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:  # noqa: ARG002
        """Take note of what the model says that the call has used, or else of what was counted."""
        counted = self._calls.pop(run_id, 0)
        self._spent.append(_usage(response) or counted)

    def _charge(self) -> None:
        """Charge what was spent; between nodes, since a callback may hold an event loop up."""
        spent = 0
        while self._spent:  # other calls may end at this moment
            spent += self._spent.pop()
        if self._caller is not None:
            self.limits.charge_tokens(self._caller, spent)


def _usage(response: LLMResult) -> int:
    said = [
        part.message for parts in response.generations for part in parts if isinstance(part, ChatGeneration)
    ]
    usages = [message.usage_metadata for message in said if isinstance(message, AIMessage)]
    return sum(usage["total_tokens"] for usage in usages if usage)


def run_of(config: RunnableConfig) -> Run | None:
    """Return the limited run that a node is part of, if any. No JSON can make one."""
    run = config.get("configurable", {}).get(RUN)
    return run if isinstance(run, Run) else None


class LimitedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph whose runs keep to limits.

    A run that is streamed or awaited is cancelled when its time is up; one that is invoked without an event
    loop stops at the next token or node. A graph within a limited run is part of that run.
    """

    def __init__(self, *, limits: Limits, **kwargs: Any) -> None:
        """Take what LangGraph makes a compiled graph of, and the limits."""
        super().__init__(**kwargs)
        self.limits = limits

    def stream(
        self,
        input: Any,  # noqa: A002 -- the base class's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Stream a run."""
        if run_of(ensure_config(config)):
            yield from super().stream(input, config, **kwargs)
            return
        run = Run(self.limits)
        settings = self._limited(config, run)
        parts: Any = super().stream(input, settings, **kwargs)
        try:
            for part in parts:
                run.check_time()
                yield part
        except Exception as error:
            run.failed(error)
            _check_steps(error, settings)
            raise
        finally:
            run.stop()  # LangGraph waits for the nodes under way
            parts.close()
            run.leave()

    async def astream(
        self,
        input: Any,  # noqa: A002 -- the base class's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """Stream a run without holding a thread."""
        if run_of(ensure_config(config)):
            async for part in super().astream(input, config, **kwargs):
                yield part
            return
        run = Run(self.limits)
        settings = self._limited(config, run)
        parts: Any = super().astream(input, settings, **kwargs)
        try:
            async with aclosing(parts):
                async for part in _timed(parts, run):
                    yield part
        except Exception as error:
            await self.limits.aside(partial(run.failed, error))
            _check_steps(error, settings)
            raise
        finally:
            await self.limits.aside(run.leave)

    def _limited(self, config: RunnableConfig | None, run: Run) -> RunnableConfig:
        """Return `config` with the run in it, and no more steps than a run may take."""
        with_run = merge_configs(config, {"callbacks": [run], "configurable": {RUN: run}})
        if (steps := self.limits.steps) is not None:
            with_run["recursion_limit"] = min(steps, with_run.get("recursion_limit", steps))
        return with_run


def limited(graph: Compiled, limits: Limits | None) -> Compiled:
    """Return `graph` with `limits` on its runs, if any, and with failures between its nodes taken down."""
    return cast("Compiled", LimitedGraph(limits=limits or _unlimited(), **vars(graph)))


@cache
def _unlimited() -> Limits:
    nothing: Any = dict.fromkeys(("requests", "tokens", "runs", "steps", "tool_calls", "wall_time"))
    return Limits(memory(), **nothing)


async def _timed(parts: AsyncIterator[Any], run: Run) -> AsyncIterator[Any]:
    """Yield `parts`; cancel what makes them when the time of the run is up."""
    while True:
        try:
            async with asyncio.timeout(run.seconds_left()) as clock:
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise (run.too_long() if clock.expired() else error) from error
        yield part


def _check_steps(error: Exception, settings: RunnableConfig) -> None:
    """Say in words that a run took as many steps as it may.

    Raises:
        LimitError: if that is what LangGraph's `error` says.
    """
    if isinstance(error, GraphRecursionError):
        steps = ensure_config(settings)["recursion_limit"]
        raise LimitError(
            f"This run took {steps} steps, as many as a run may. Ask for less at once."
        ) from error
