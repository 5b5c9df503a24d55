"""Verifies every graph that the configs which ship can be composed to.

Crossing all groups would take days, and most of them choose a service: which model, which index. So each
option is first composed by itself, and its graph compared with the usual one. The groups that change a graph
are then crossed with one another and with the stages that may be left out, while the others take their
options in turn.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod

from markgraph.build import build_graph, compose
from markgraph.errors import MarkError
from markgraph.verification.dimensions import Dimension, Overrides, groups_of, not_fixed, stages_in
from markgraph.verification.flow import Flow
from markgraph.verification.read import flow_of
from markgraph.verification.rules import Finding
from markgraph.verification.runs import findings_in

JOB = "verify"
PLACE = "path=."
"""What an ingestion would read; nothing is read here."""


@dataclass
class GraphReport:
    """What was found for one graph."""

    graph: str
    shaping: list[str] = field(default_factory=list)
    """What changes the graph, and was crossed."""
    choosing: list[str] = field(default_factory=list)
    """Groups that change nothing of it."""
    composed: int = 0
    """Configurations."""
    distinct: int = 0
    """Graphs among them that differ."""
    found: dict[Finding, Overrides] = field(default_factory=dict)
    """Each finding, with the first configuration that has it."""
    not_built: dict[str, Overrides] = field(default_factory=dict)
    """Why configurations could not be built, and so could not be run either; with the first of each kind."""


def verify_all(
    overrides: Sequence[str] = (),
    *,
    everything: bool = False,
    begins: Callable[[str], object] = bool,
    tick: Callable[[int], object] = bool,
) -> list[GraphReport]:
    """Verify each graph, in every configuration that `overrides` leave open.

    Args:
        everything: cross all groups, whether they change a graph or not.
        begins: called with the name of each graph.
        tick: called for each configuration, with how many of its graph are known to come.

    Raises:
        UsageError: `overrides` name what does not exist, or does not build.
    """
    named = any(each.startswith("graph.") for each in overrides)
    groups = {each.name: each for each in not_fixed(list(groups_of(JOB)), overrides)}
    graphs = groups.pop("graph", Dimension("graph", ((),)))
    options: Sequence[Overrides] = [()] if named else graphs.options
    return [
        _Verifier((*option, *overrides), everything, begins, tick).run(list(groups.values()))
        for option in options
    ]


@dataclass
class _Verifier:
    fixed: Overrides
    everything: bool
    begins: Callable[[str], object]
    tick: Callable[[int], object]
    proved: dict[Flow, list[Finding]] = field(default_factory=dict)

    def run(self, groups: Sequence[Dimension]) -> GraphReport:
        config = compose(JOB, [PLACE, *self.fixed])
        graph = build_graph(config, checkpoint=None)
        usual = flow_of(graph)
        self.report = GraphReport(graph.get_name())
        self.begins(self.report.graph)
        self._prove(usual, ())
        stages = not_fixed(list(stages_in(config)), self.fixed)
        if self.everything:
            shaping, choosing = [*groups, *stages], list[Dimension]()
        else:
            shapes = {each.name: self._changes(each, usual, groups) for each in groups}
            shaping = [*(each for each in groups if shapes[each.name]), *stages]
            choosing = [each for each in groups if not shapes[each.name]]
        self.report.shaping = [each.name for each in shaping]
        self.report.choosing = [each.name for each in choosing]
        total = prod(len(each.options) for each in shaping)
        for at, chosen in enumerate(product(*(each.options for each in shaping))):
            in_turn = (each.options[at % len(each.options)] for each in choosing)
            self._verify(sum((*chosen, *in_turn), ()), total)
        self.report.distinct = len(self.proved)
        return self.report

    def _changes(self, dimension: Dimension, usual: Flow, groups: Sequence[Dimension]) -> bool:
        """Tell whether an option of a group makes another graph than the usual one."""
        total = sum(len(each.options) - 1 for each in groups)
        flows = [self._verify(option, total) for option in dimension.options[1:]]
        return any(flow is not None and flow != usual for flow in flows)

    def _verify(self, chosen: Overrides, total: int) -> Flow | None:
        """Verify one configuration, and return what its runs can do."""
        self.tick(total)
        try:
            flow = self._flow(chosen)
        except MarkError as error:
            self.report.not_built.setdefault(str(error), (*self.fixed, *chosen))
            return None
        self._prove(flow, chosen)
        return flow

    def _flow(self, chosen: Overrides) -> Flow:
        # Where threads are kept changes nothing of a graph, and may be a file or a server.
        return flow_of(build_graph(compose(JOB, [PLACE, *self.fixed, *chosen]), checkpoint=None))

    def _prove(self, flow: Flow, chosen: Overrides) -> None:
        self.report.composed += 1
        if flow not in self.proved:
            self.proved[flow] = findings_in(flow)
        for finding in self.proved[flow]:
            self.report.found.setdefault(finding, (*self.fixed, *chosen))


def failed(reports: Sequence[GraphReport]) -> Iterator[tuple[Finding, Overrides]]:
    """Yield every finding, with a configuration that has it."""
    for report in reports:
        yield from report.found.items()
