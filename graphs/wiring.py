"""Adds nodes to a graph: guarded, taken down in the audit log, and with their times measured."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from inspect import isfunction, signature
from time import perf_counter
from typing import Any, Protocol, get_type_hints, runtime_checkable
from uuid import uuid4

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.errors import GraphBubbleUp
from langgraph.graph import StateGraph
from langgraph.runtime import get_runtime

from markgraph.audit.journal import Journal
from markgraph.nodes.authorize import Authorize, check_still_allowed, check_still_readable
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of
from markgraph.security.guard import Guard
from markgraph.security.policy import Need
from markgraph.security.runs import run_of
from markgraph.verification.wrapped import wraps

Update = dict[str, Any]
Node = Callable[..., Update]


@runtime_checkable
class Waits(Protocol):
    """A node that waits on a model or a server, and so has an async form too."""

    def __call__(self, *args: Any) -> Update:
        """Do its work."""

    async def acall(self, *args: Any) -> Update:
        """Do its work without holding a thread."""


@runtime_checkable
class Needs(Protocol):
    """A node that runs only for callers who have certain permissions."""

    def needs(self, state: Any) -> Iterable[Need]:
        """Return the permissions, each with what it is needed for."""


@dataclass(frozen=True)
class Wiring:
    """Adds nodes to `graph`. Each is given what it asks for, and only where the policy allows it."""

    graph: StateGraph[Any, Caller, Any, Any]
    name: str
    """What permissions and the audit log call the graph."""
    guard: Guard

    def add(self, name: str, node: Node, read_from: Index | None = None, *, ends: bool = False) -> None:
        """Add `node` under `name`; its update gets a `timings` entry in milliseconds.

        The node's own parameters decide what it is given: `state`, and `runtime` or `config` if it asks.
        Every node but `Authorize` first makes sure that the caller is the one whose run this is. One that
        uses what was read from an index, given as `read_from`, makes sure that the caller may still read
        it, too. What a node `ends` is given out only when the audit log has it. Where the run has limits, it
        keeps to them.
        """
        call = node if isfunction(node) else type(node).__call__
        reads = get_type_hints(call)["state"]
        self.graph.add_node(name, self.wrapped(name, node, read_from, ends), input_schema=reads)

    def wrapped(self, name: str, node: Node, read_from: Index | None = None, ends: bool = False) -> Any:
        """Return `node` as something that LangGraph runs, sync and async."""
        asks, journal_of = signature(node).parameters, partial(_journal, self.guard, self.name, node)

        def arguments(state: Any, config: RunnableConfig, journal: Journal) -> tuple[Any, ...]:
            if limited := run_of(config):
                limited.enter(journal)
            _check(node, state, read_from, journal)
            given = {"runtime": get_runtime(Caller), "config": config}
            return (state, *(given[name] for name in asks if name in given))

        def run(state: Any, config: RunnableConfig) -> Update:
            began, journal = perf_counter(), journal_of(state)
            try:
                with journal.acting():
                    update = node(*arguments(state, config, journal))
                return measured(name, began, _taken_down(node, state, update, journal, ends))
            except Exception as error:
                _failed(journal, config, error)
                raise

        wraps(node, run)
        if not isinstance(node, Waits):
            return run

        async def arun(state: Any, config: RunnableConfig) -> Update:
            began, journal = perf_counter(), journal_of(state)
            try:
                given = await asyncio.to_thread(arguments, state, config, journal)
                update = await node.acall(*given)
                update = await asyncio.to_thread(_taken_down, node, state, update, journal, ends)
                return measured(name, began, update)
            except asyncio.CancelledError as error:
                _failed(journal, config, error)  # at once: nothing waits for a task that is cancelled
                raise
            except Exception as error:
                await asyncio.to_thread(_failed, journal, config, error)
                raise

        return RunnableLambda(run, arun, name=name)


def _journal(guard: Guard, graph: str, node: Node, state: Any) -> Journal:
    """Return what takes this run down; a run begins at `Authorize`.

    No method of `Wiring`: a node that held that would hold the graph, which would outlive its last user.
    """
    run_id = uuid4().hex if isinstance(node, Authorize) else state.get("run_id", "")
    return Journal(guard, graph, caller_of(get_runtime(Caller)), run_id)


def _check(node: Node, state: Any, read_from: Index | None, journal: Journal) -> None:
    """Refuse to run a node for somebody who may not do what it does, or may not any more."""
    if not isinstance(node, Authorize):
        check_still_allowed(state, journal.caller, journal.guard.policy)
    if isinstance(node, Needs):
        for need in node.needs(state):
            journal.require(need)
    if read_from is not None:
        check_still_readable(state, read_from, journal.caller)


def _taken_down(node: Node, state: Any, update: Update, journal: Journal, ends: bool) -> Update:
    """Return a node's update, once the audit log knows what there is to know of it."""
    known = state.get("passages") or []
    if fresh := [each for each in update.get("passages") or [] if each not in known]:
        journal.read(fresh)
    if ends:
        journal.ended(state, update)
    return update | _begun(journal) if isinstance(node, Authorize) else update


def _begun(journal: Journal) -> Update:
    """Return what a run remembers of itself."""
    audit = journal.guard.audit
    return {"run_id": journal.run_id, "config": audit.config.hash if audit and audit.config else ""}


def _failed(journal: Journal, config: RunnableConfig, error: BaseException) -> None:
    """Take down that a run failed; LangGraph stops one for a person's word by raising, too."""
    if limited := run_of(config):
        limited.failed(error, journal)
    elif not isinstance(error, GraphBubbleUp):
        journal.failed(error)


def measured(name: str, began: float, update: Update) -> Update:
    """Return `update` with the milliseconds that the node took."""
    return update | {"timings": {name: round((perf_counter() - began) * 1000, 1)}}
