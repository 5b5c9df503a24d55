"""Small graphs whose nodes declare what they do, and do nothing."""

from collections.abc import Callable
from typing import Any

from langgraph.constants import START
from langgraph.graph import StateGraph
from typing_extensions import TypedDict

from markgraph import verify
from markgraph.build import Graph
from markgraph.security.effects import Effect, does
from markgraph.verification.rules import Rule


class State(TypedDict):
    """Nothing: these graphs are not run."""

    messages: list[str]


def node(*effects: Effect) -> Callable[[State], dict[str, Any]]:
    """Return a node that declares what it does."""

    @does(*effects)
    def act(state: State) -> dict[str, Any]:
        return {}

    return act


NODES = {
    "authorize": node(Effect.AUTHORIZES),
    "retrieve": node(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED),
    "generate": node(Effect.GENERATES),
    "validate": node(Effect.VALIDATES),
    "respond": node(Effect.ANSWERS),
    "approve": node(Effect.APPROVES),
    "delete": node(Effect.SIDE_EFFECTS),
    "send": node(Effect.EGRESS),
}


def chain(*names: str, **others: Any) -> StateGraph[State, Any, Any, Any]:
    """Return a graph in which these nodes run one after the other."""
    builder = StateGraph(State)
    builder.add_sequence([(name, others.get(name) or NODES[name]) for name in names])
    builder.add_edge(START, names[0])
    return builder


def broken(graph: Graph) -> list[tuple[Rule, str]]:
    """Return what is broken, and the path."""
    return [(finding.rule, " ".join(finding.path)) for finding in verify(graph)]


def stay(state: State) -> dict[str, Any]:
    """Do nothing."""
    return {}
