"""Adds nodes to a graph with their times measured."""

from collections.abc import Callable
from inspect import isfunction, signature
from time import perf_counter
from typing import Any, Protocol, get_type_hints, runtime_checkable

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import StateGraph
from langgraph.runtime import Runtime

from markgraph.security.caller import Caller

Update = dict[str, Any]
Node = Callable[..., Update]


@runtime_checkable
class Waits(Protocol):
    """A node that waits on a model or a server, and so has an async form too."""

    def __call__(self, *args: Any) -> Update:
        """Do its work."""

    async def acall(self, *args: Any) -> Update:
        """Do its work without holding a thread."""


def add(graph: StateGraph[Any, Caller, Any, Any], name: str, node: Node) -> None:
    """Add `node` under `name`; its update gets a `timings` entry in milliseconds.

    The node's own parameters decide what it is given: `state`, and `runtime` or `config` if it asks.
    """
    call = node if isfunction(node) else type(node).__call__
    reads = get_type_hints(call)["state"]
    graph.add_node(name, timed(name, node), input_schema=reads)


def timed(name: str, node: Node) -> Any:
    """Return `node` as something that LangGraph runs, sync and async, and that reports its time."""
    asks = signature(node).parameters

    def measured(began: float, update: Update) -> Update:
        return update | {"timings": {name: round((perf_counter() - began) * 1000, 1)}}

    if isinstance(node, Waits):
        takes_config = "config" in asks

        def wait(state: Any, config: RunnableConfig) -> Update:
            began = perf_counter()
            return measured(began, node(state, config) if takes_config else node(state))

        async def await_(state: Any, config: RunnableConfig) -> Update:
            began = perf_counter()
            return measured(began, await (node.acall(state, config) if takes_config else node.acall(state)))

        return RunnableLambda(wait, await_, name=name)

    def run(state: Any, runtime: Runtime[Caller]) -> Update:
        began = perf_counter()
        return measured(began, node(state, runtime) if "runtime" in asks else node(state))

    return run
