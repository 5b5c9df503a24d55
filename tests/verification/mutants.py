"""Makes mutants of a compiled graph: an edge dropped, rerouted or added, a path map lost, a node removed."""

from collections import defaultdict
from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple

from langgraph.constants import END, START
from langgraph.graph import StateGraph

from markgraph.build import Graph

Builder = StateGraph[Any, Any, Any, Any]


class Mutant(NamedTuple):
    """A changed graph, and what was changed."""

    what: str
    graph: Graph


def mutants_of(graph: Graph) -> Iterator[Mutant]:
    """Yield every mutant that LangGraph compiles."""
    for what, builder in _builders(graph.builder):
        try:
            yield Mutant(what, builder.compile())
        except ValueError:  # nothing begins, or an edge leads nowhere: LangGraph itself refuses it
            continue


def _builders(original: Builder) -> Iterator[tuple[str, Builder]]:
    names = [*original.nodes, END]
    for edge in sorted(original.edges):
        yield f"without {edge}", _with_edges(original, original.edges - {edge})
        for to in names:
            if to != edge[1]:
                yield f"{edge} to {to}", _with_edges(original, original.edges - {edge} | {(edge[0], to)})
    for start, branches in original.branches.items():
        for name, branch in branches.items():
            assert branch.ends is not None
            yield f"{start} without a path map", _with_branch(original, start, name, None)
            for label in branch.ends:
                rest = {each: end for each, end in branch.ends.items() if each != label}
                yield f"{start} without {label}", _with_branch(original, start, name, rest)
                for to in names:
                    if to != branch.ends[label]:
                        ends = rest | {label: to}
                        yield f"{start}: {label} to {to}", _with_branch(original, start, name, ends)
    for node in original.nodes:
        yield f"without {node}", _without(original, node, closed=False)
        yield f"{node} stepped over", _without(original, node, closed=True)


def _fresh(original: Builder) -> Builder:
    builder = copy(original)
    builder.nodes, builder.edges, builder.compiled = dict(original.nodes), set(original.edges), False
    builder.branches = defaultdict(dict, {key: dict(value) for key, value in original.branches.items()})
    return builder


def _with_edges(original: Builder, edges: set[tuple[str, str]]) -> Builder:
    builder = _fresh(original)
    builder.edges = edges
    return builder


def _with_branch(original: Builder, start: str, name: str, ends: dict[Any, str] | None) -> Builder:
    builder = _fresh(original)
    builder.branches[start][name] = builder.branches[start][name]._replace(ends=ends)
    return builder


def _without(original: Builder, node: str, *, closed: bool) -> Builder:
    """Remove a node; `closed`: what led to it leads to where it led."""
    builder = _fresh(original)
    del builder.nodes[node]
    builder.branches.pop(node, None)
    onward = sorted(end for start, end in original.edges if start == node)
    builder.edges = {edge for edge in original.edges if node not in edge}
    if closed:
        builder.edges |= {(start, end) for start, to in original.edges if to == node for end in onward}
    for branches in builder.branches.values():
        for name, branch in branches.items():
            ends = {
                label: (onward[0] if closed and onward else END) if end == node else end
                for label, end in (branch.ends or {}).items()
            }
            branches[name] = branch._replace(ends=ends)
    return builder


def walks(graph: Graph, visits: int) -> Iterator[tuple[list[frozenset[str]], bool]]:
    """Yield every way through a graph whose nodes lead to one at a time, and whether it ended there.

    A node is visited at most `visits` times.
    """
    builder = graph.builder
    after: dict[str, set[str]] = {name: set() for name in (START, *builder.nodes)}
    for start, end in builder.edges:
        after[start].add(end)
    for start, branches in builder.branches.items():
        for branch in branches.values():
            after[start] |= set(branch.ends.values()) if branch.ends else {*builder.nodes, END}

    def go_on(walk: list[str]) -> Iterator[tuple[list[frozenset[str]], bool]]:
        onward = [each for each in after[walk[-1]] if each != END]
        yield [frozenset({name}) for name in walk], END in after[walk[-1]] or not after[walk[-1]]
        for name in onward:
            if walk.count(name) < visits:
                yield from go_on([*walk, name])

    return go_on([START])
