"""A compiled graph as LangServe wants it: the checked answer, streamed word by word."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, NamedTuple
from weakref import WeakValueDictionary

from langchain_core.runnables import Runnable, RunnableConfig, RunnableGenerator
from langchain_core.runnables.base import RunnableBinding
from langchain_core.runnables.config import get_config_list
from langchain_core.runnables.schema import StreamEvent
from langchain_core.runnables.utils import AddableDict
from langchain_core.tracers.log_stream import RunLogPatch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from markgraph.build import Graph
from markgraph.errors import ApprovalNeededError, FullDiskError, MarkError, StorageError
from markgraph.retrieval.storage import faults, is_full
from markgraph.security.caller import Caller, thread_key
from markgraph.state import Answer
from markgraph.text import LONGEST_QUESTION, is_question


class Asked(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid", title="Question")

    question: Annotated[
        str, Field(min_length=1, max_length=LONGEST_QUESTION, description="What you want to know.")
    ]

    @field_validator("question")
    @classmethod
    def is_text(cls, question: str) -> str:
        """Refuse what says nothing, and half characters, which no tokenizer can read."""
        if not is_question(question):
            raise ValueError("A question is text that says something.")
        return question


class Asking(NamedTuple):
    """Who sends the request under way, in which of their threads, and how many runs they may have at once."""

    caller: Caller
    thread: str | None
    runs: int | None = None


ASKING: ContextVar[Asking] = ContextVar("who sends the request under way")
"""Set by the door. LangServe drops a modifier's config in /batch, and a client's config must not count."""


class Served(RunnableBinding[Any, Any]):  # type: ignore[no-redef]  # the base has a field `kwargs`
    """Shows of what goes on within a run nothing but the model's tokens.

    The nodes' own inputs and outputs hold all of a thread, also what its caller may not be shown any more.
    """

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Answer all, no more at once than the caller may have runs."""
        configs = get_config_list(config, len(inputs))
        if runs := ASKING.get().runs:
            configs = [{**one, "max_concurrency": runs} for one in configs]
        return await super().abatch(inputs, configs, **kwargs)

    async def astream_events(  # type: ignore[override]
        self,
        input: Any,  # noqa: A002 -- the base class's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[StreamEvent]:
        """Yield the events of the run itself, and the tokens of the model."""
        events: Any = super().astream_events(input, config, **kwargs)
        async for event in events:
            if not event["parent_ids"] or event["event"] == "on_chat_model_stream":
                yield event

    async def astream_log(  # type: ignore[override]
        self,
        input: Any,  # noqa: A002 -- the base class's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[RunLogPatch]:
        """Yield the log of the run itself."""
        patches: Any = super().astream_log(input, config, **kwargs)
        async for patch in patches:
            if own := [change for change in patch.ops if not change["path"].startswith("/logs")]:
                yield RunLogPatch(*own)


def served(graph: Graph) -> Runnable[Any, Any]:
    """Return `graph` as a runnable whose stream is made of pieces of one answer that add up to it.

    A raw graph would stream every node's update, drafts included, before anything is checked.
    Tokens of the draft are still there for who asks for events.
    """
    stateless = graph.copy(update={"checkpointer": None})

    def chosen(config: RunnableConfig) -> tuple[Graph, dict[str, Any]]:
        """Return what runs, and how: a turn of a thread is kept at its end, all of it or nothing.

        So who is told that a store is away can ask again, and it is no second turn.
        """
        caller, thread, _ = ASKING.get(Asking(Caller(), None))
        if not thread:
            return stateless, {"config": {**config, "configurable": {"caller": caller}}}
        keys = {"caller": caller, "thread_id": thread_key(caller, f"{graph.get_name()}:{thread}")}
        return graph, {"config": {**config, "configurable": keys}, "durability": "exit"}

    def answer(questions: Iterator[Any], config: RunnableConfig) -> Iterator[AddableDict]:
        for question in questions:
            runs, how = chosen(config)
            with _stores_in_words():
                whole = runs.invoke(_plain(question), **how)
            yield from _pieces(whole)

    async def aanswer(questions: AsyncIterator[Any], config: RunnableConfig) -> AsyncIterator[AddableDict]:
        async for question in questions:
            runs, how = chosen(config)
            with _stores_in_words():
                async with _turn(how["config"]["configurable"].get("thread_id")):
                    whole = await runs.ainvoke(_plain(question), **how)
            for piece in _pieces(whole):
                yield piece

    # LangChain's annotation leaves out that a config is handed in to who asks for one.
    generator: Any = RunnableGenerator[Any, Any](answer, aanswer, name=graph.get_name())  # type: ignore[arg-type]
    return Served(bound=generator, custom_output_type=Answer)


@contextmanager
def _stores_in_words() -> Iterator[None]:
    """Say that a store failed, without the store's own words: they may name files or hosts."""
    try:
        yield
    except MarkError:  # a DeniedError is a PermissionError, and so an OSError
        raise
    except faults() as error:
        kind = type(error).__name__
        if is_full(error):
            raise FullDiskError(
                f"The server's disk is full ({kind}). What was stored before is intact: "
                "ask again when there is room."
            ) from error
        raise StorageError(
            f"A store of the server can't be reached ({kind}). Ask again in a while."
        ) from error


_TURNS: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


def _turn(thread: str | None) -> asyncio.Lock:
    """Return the lock of a thread: one turn after the other, or the later would overwrite the earlier."""
    lock = asyncio.Lock()
    return lock if thread is None else _TURNS.setdefault(thread, lock)


def _plain(question: Any) -> dict[str, Any]:
    asked = Asked.model_validate(question)
    return asked.model_dump()


def _pieces(answer: dict[str, Any]) -> Iterator[AddableDict]:
    """Cut the answer into words, then give the rest at once."""
    if "__interrupt__" in answer:
        raise ApprovalNeededError(
            f"The run waits for a person's word on {answer['__interrupt__'][0].value['calls']}, and "
            "LangServe has no way to give it. Ask through LangGraph Server or the command line."
        )
    for word in re.findall(r"\s*\S+", answer["answer"]):
        yield AddableDict({"answer": word})
    yield AddableDict({key: value for key, value in answer.items() if key != "answer"})
