"""What verification knows of a graph: plain values that can be compared."""

from dataclasses import dataclass, field

from markgraph.security.effects import Effect

EVERYTHING = "*"
"""What a person's word covers who was not asked about certain tools."""
WITHIN = "|"
"""Stands between a node and one of the subgraph in it; LangGraph allows it in no name."""
ON_TIME, DEFERRED, LAST = range(3)
"""When a node runs: with the others, when its graph would be over without it, or after all of that."""


@dataclass(frozen=True)
class Tool:
    """A tool that a node may run."""

    name: str
    effects: frozenset[Effect]


@dataclass(frozen=True)
class Way:
    """Where a run may go from a node. All the ways of a node are taken at once."""

    targets: tuple[str, ...]
    exactly_one: bool
    """Else any of them at the same time, or none."""


@dataclass(frozen=True)
class Node:
    """A node of a graph, or of a subgraph."""

    name: str
    effects: frozenset[Effect] = frozenset()
    tools: tuple[Tool, ...] = ()
    asks: frozenset[str] = frozenset()
    """The tools that a person is asked about here; `EVERYTHING`: about whatever comes next."""
    ways: tuple[Way, ...] = ()
    handler: str | None = None
    """Where a run goes on when this node fails."""
    when: int = ON_TIME
    pauses_before: bool = False
    """Whether the graph was compiled to wait for a person before this node."""
    pauses_after: bool = False
    failed: bool = False
    gaps: tuple[str, ...] = ()
    """What the node doesn't say of itself, in sentences; the worst was assumed."""

    @property
    def graph(self) -> str:
        """Return the name of the subgraph that it belongs to; the outermost has none."""
        return self.name.rpartition(WITHIN)[0]


@dataclass(frozen=True)
class Flow:
    """All that a graph's runs can do."""

    nodes: tuple[Node, ...] = field(default=())
    joins: tuple[tuple[frozenset[str], str], ...] = ()
    """Nodes that are all waited for, and what runs after them."""
