"""Tries every run that a graph allows: a breadth-first search over what is active and what has happened.

It does as LangGraph does (Pregel, Malewicz et al. 2010): nodes that were activated run together, a subgraph
is one step of the graph around it, and nodes that wait for several run after the last of them.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import NamedTuple

from langgraph.constants import END, START

from markgraph.verification.flow import EVERYTHING, WITHIN, Flow, Node, Way
from markgraph.verification.rules import (
    GUARDING,
    Broken,
    Facts,
    Finding,
    Rule,
    after,
    broken_at_the_end,
    broken_by,
)

MOST = 20_000
"""Steps of runs that are tried; a graph with more is refused."""


class Situation(NamedTuple):
    """A moment of a run."""

    active: frozenset[str]
    """Nodes that were activated, and have not run yet."""
    arrived: frozenset[tuple[int, str]]
    """Which nodes have run that a join, given by its number, waits for."""
    facts: Facts


Came = tuple[Situation, str] | None
"""From where a run came to a situation, and what ran in between."""


def findings_in(flow: Flow) -> list[Finding]:
    """Return the ways to break the policy, each with a shortest path."""
    gaps = [Finding(Rule.LABEL, node.name, gap) for node in flow.nodes for gap in node.gaps]
    return gaps + _Search(flow).run()


@dataclass
class _Search:
    flow: Flow
    came: dict[Situation, Came] = field(default_factory=dict)
    found: dict[Broken, Finding] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {node.name: node for node in self.flow.nodes}

    def run(self) -> list[Finding]:
        start = Situation(frozenset({START}), frozenset(), Facts())
        self.came[start] = None
        queue, tried = deque([start]), 0
        while queue:
            here = queue.popleft()
            for nodes in steps([self.nodes[name] for name in sorted(here.active)]):
                for there in self._after(here, nodes):
                    tried += 1
                    if tried == MOST:
                        return [*self.found.values(), _TOO_LARGE]
                    if there not in self.came:
                        self.came[there] = (here, _together(nodes))
                        queue.append(there)
        return list(self.found.values())

    def _after(self, here: Situation, nodes: Sequence[Node]) -> Iterator[Situation]:
        """Yield where a run may be after these nodes; note what they break."""
        facts = here.facts
        if any(node.pauses_before for node in nodes):
            facts = facts._replace(approved=facts.approved | {EVERYTHING})
        broken = list(broken_by(nodes, facts))
        self._note(broken, here, nodes)
        facts = after(nodes, facts, [each.rule for each in broken])
        rest = here.active - {node.name for node in nodes}
        arrived, joined = self._joined(here.arrived, nodes)
        for chosen in choices([way for node in nodes for way in node.ways]):
            active = rest.union(joined, chosen) - {END}
            if active:
                yield Situation(active, arrived, facts)
            else:
                self._note(broken_at_the_end(nodes, facts), here, nodes, "END")

    def _joined(
        self, arrived: frozenset[tuple[int, str]], nodes: Sequence[Node]
    ) -> tuple[frozenset[tuple[int, str]], set[str]]:
        """Return which nodes have run that joins wait for, and what need wait no longer."""
        ran = {node.name for node in nodes if not node.failed}
        now = set(arrived) | {
            (number, name) for number, (starts, _) in enumerate(self.flow.joins) for name in starts & ran
        }
        done = [
            number
            for number, (starts, _) in enumerate(self.flow.joins)
            if all((number, start) in now for start in starts)
        ]
        left = frozenset(each for each in now if each[0] not in done)
        return left, {self.flow.joins[number][1] for number in done}

    def _note(self, broken: Iterable[Broken], here: Situation, nodes: Sequence[Node], *then: str) -> None:
        for each in broken:
            if each not in self.found:
                path = (*self._path(here), _together(nodes), *then)
                self.found[each] = Finding(*each, path=tuple(filter(None, path)))

    def _path(self, to: Situation) -> tuple[str, ...]:
        names: list[str] = []
        while came := self.came[to]:
            to, name = came
            names.append(name)
        return tuple(reversed(names))


def steps(active: Sequence[Node]) -> Iterator[list[Node]]:
    """Yield the nodes that may run next, together; one that has a handler may fail, too.

    A graph goes on when the subgraphs in its nodes are over. Two of these don't wait for each other.
    """
    graphs = {node.graph for node in active}
    for graph in graphs:
        if any(other.startswith(f"{graph}{WITHIN}" if graph else "") and other != graph for other in graphs):
            continue
        own = [node for node in active if node.graph == graph]
        first = min(node.when for node in own)
        ready = [node for node in own if node.when == first]
        yield from map(list, product(*([node, _failed(node)] if node.handler else [node] for node in ready)))


def choices(ways: Sequence[Way]) -> Iterator[tuple[str, ...]]:
    """Yield the targets that a run may go to at once, all ways taken; there may be too many for a list."""
    if not ways:
        yield ()
        return
    first, *others = ways
    for size in (1,) if first.exactly_one else range(len(first.targets) + 1):
        for chosen in combinations(first.targets, size):
            for rest in choices(others):
                yield (*chosen, *rest)


def _failed(node: Node) -> Node:
    """Return a node that has failed: it may have done what it does, and has guarded against nothing."""
    to = Way((node.handler or END,), exactly_one=True)
    return replace(node, effects=node.effects - GUARDING, asks=frozenset(), ways=(to,), failed=True)


def _together(nodes: Sequence[Node]) -> str:
    """Return a step of a path; where a subgraph begins and ends is none."""
    names = ("START" if node.name == START else node.name for node in nodes)
    return " + ".join(name for name in names if not name.endswith((f"{WITHIN}{START}", f"{WITHIN}{END}")))


_TOO_LARGE = Finding(
    Rule.SIZE,
    "",
    f"The graph's runs have more than {MOST} steps to try. Give its branches a path map, and say what they "
    "and its nodes return (`-> str`, `-> dict`, `-> Command[Literal[...]]`): what doesn't may go anywhere.",
)
