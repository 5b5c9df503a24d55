"""Verifies a compiled graph against the policy, whoever has built it."""

from markgraph.errors import UnsafeGraphError
from markgraph.verification.read import Goes, Graph, Labels, flow_of
from markgraph.verification.rules import Finding
from markgraph.verification.runs import findings_in


def verify(graph: Graph, labels: Labels | None = None, goes: Goes | None = None) -> list[Finding]:
    """Return the ways in which a run of `graph` could break the policy; none: no run can.

    Args:
        graph: a compiled graph; it is not run. Subgraphs belong to it.
        labels: what nodes do that don't declare it with `@does(...)`, by name; `NODE|NODE` in a subgraph.
        goes: where nodes go by a `Command` whose targets they don't name; an empty list: their edges alone.
    """
    return findings_in(flow_of(graph, labels, goes))


def require_safe(graph: Graph) -> Graph:
    """Return `graph` if it can be served and asked.

    Raises:
        UnsafeGraphError: with the findings, each with its path.
    """
    if findings := verify(graph):
        listed = "\n".join(f"- {finding}" for finding in findings)
        raise UnsafeGraphError(
            f"The graph {graph.get_name()!r} is neither served nor asked: a run could break the policy.\n"
            f"{listed}\n"
            f"Change what was overridden, or see `markgraph verify graph={graph.get_name()}`."
        )
    return graph
