"""Adds nodes to a graph: guarded, and with their times measured."""

import asyncio
from collections.abc import Callable
from inspect import isfunction, signature
from time import perf_counter
from typing import Any, Protocol, get_type_hints, runtime_checkable

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import StateGraph
from langgraph.runtime import get_runtime

from markgraph.nodes.authorize import Authorize, check_still_allowed, check_still_readable
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of
from markgraph.security.runs import run_of

Update = dict[str, Any]
Node = Callable[..., Update]


@runtime_checkable
class Waits(Protocol):
    """A node that waits on a model or a server, and so has an async form too."""

    def __call__(self, *args: Any) -> Update:
        """Do its work."""

    async def acall(self, *args: Any) -> Update:
        """Do its work without holding a thread."""


def add(
    graph: StateGraph[Any, Caller, Any, Any], name: str, node: Node, read_from: Index | None = None
) -> None:
    """Add `node` under `name`; its update gets a `timings` entry in milliseconds.

    The node's own parameters decide what it is given: `state`, and `runtime` or `config` if it asks.
    Every node but `Authorize` first makes sure that the caller is the one whose run this is. One that uses
    what was read from an index, given as `read_from`, makes sure that the caller may still read it, too.
    Where the run has limits, it keeps to them.
    """
    call = node if isfunction(node) else type(node).__call__
    reads = get_type_hints(call)["state"]
    graph.add_node(name, wrapped(name, node, read_from), input_schema=reads)


def wrapped(name: str, node: Node, read_from: Index | None = None) -> Any:
    """Return `node` as something that LangGraph runs, sync and async, guarded, and with its time measured."""
    asks = signature(node).parameters

    def arguments(state: Any, config: RunnableConfig) -> tuple[Any, ...]:
        runtime = get_runtime(Caller)
        if run := run_of(config):
            run.enter(caller_of(runtime))
        if not isinstance(node, Authorize):
            check_still_allowed(state, caller_of(runtime))
        if read_from is not None:
            check_still_readable(state, read_from, caller_of(runtime))
        given = {"runtime": runtime, "config": config}
        return (state, *(given[name] for name in asks if name in given))

    def run(state: Any, config: RunnableConfig) -> Update:
        began = perf_counter()
        return measured(name, began, node(*arguments(state, config)))

    if not isinstance(node, Waits):
        return run

    async def arun(state: Any, config: RunnableConfig) -> Update:
        began = perf_counter()
        given = await asyncio.to_thread(arguments, state, config)
        return measured(name, began, await node.acall(*given))

    return RunnableLambda(run, arun, name=name)


def measured(name: str, began: float, update: Update) -> Update:
    """Return `update` with the milliseconds that the node took."""
    return update | {"timings": {name: round((perf_counter() - began) * 1000, 1)}}
