"""A graph that is listed and refuses every run: whoever runs the server has not opened it."""

from typing import Any, NoReturn

from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from typing_extensions import TypedDict

from markgraph.errors import UsageError
from markgraph.security.effects import does


class Nothing(TypedDict):
    """No channels: what a client sends is not kept."""


def build(name: str, why: str) -> CompiledStateGraph[Nothing, None, Nothing, Nothing]:
    """Return the compiled graph `name`, whose runs end with `why`."""

    @does()
    def refuse(state: Nothing) -> NoReturn:  # noqa: ARG001
        raise UsageError(why)

    graph: Any = StateGraph(Nothing)
    graph.add_node("refuse", refuse)
    graph.add_edge(START, "refuse")
    compiled: CompiledStateGraph[Nothing, None, Nothing, Nothing] = graph.compile(name=name)
    return compiled
