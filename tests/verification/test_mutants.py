"""Every edge of every shipped graph, dropped and rerouted: what breaks the policy is refused, and no more."""

import pytest

from markgraph.build import Graph, build_graph, compose
from markgraph.verification.verify import verify
from tests.verification.monitor import Does, breaks
from tests.verification.mutants import mutants_of, walks

NODES: Does = {
    "authorize": ["authorize"],
    "route": ["private"],
    "rewrite": ["private"],
    "retrieve": ["private", "untrusted"],
    "rerank": ["private", "untrusted"],
    "follow": ["private", "untrusted"],
    "compress": ["private", "untrusted"],
    "generate": ["generate"],
    "validate": ["validate"],
    "quote": ["quote"],
    "respond": ["answer"],
    "refuse": ["refuse"],
    "approve": ["approve"],
    "call_tools": ["private", "untrusted", "act"],
    "permit": ["private", "store"],
    "preview": ["private", "untrusted"],
    "scan": ["private", "untrusted", "store"],
    "index_documents": ["private", "untrusted", "store"],
    "sweep": ["private", "store"],
    "link": ["private", "untrusted", "store"],
    "load": ["private", "store"],
    "answer": ["private", "untrusted", "generate"],
    "score": ["validate", "store"],
    "report": ["private", "store"],
    "begin": ["store"],
    "prepare": ["private", "untrusted", "store"],
    "plan": ["store"],
    "confirm": ["approve"],
    "train": ["act", "store"],
    "evaluate": ["store"],
    "compare": ["store"],
    "register": ["act", "store"],
}
"""What the nodes do, told a second time: a wrong label in the code is a failure here."""
LEAST = {"qa": 130, "agent": 100, "ingest": 40, "evaluate": 20, "train": 100}
"""Mutants that there must be, so that a test of none does not pass."""
SHIPPED = {
    "qa": ("ask", "graph=qa", "rerank=full"),
    "qa without its optional stages": (
        "ask",
        "graph=qa",
        "graph.route=null",
        "graph.follow=null",
        "graph.compress=null",
    ),
    "agent": ("ask", "graph=agent"),
    "ingest": ("ingest", "graph=ingest", "corpus=folder", "path=."),
    "evaluate": ("evaluate", "graph=evaluate"),
    "evaluate over a graph": ("evaluate", "graph=evaluate", "over=graph"),
    "train": ("train", "graph=train", "tracker=none", "checkpoint=none"),
}


@pytest.fixture(params=SHIPPED)
def graph(request: pytest.FixtureRequest) -> Graph:
    job, *overrides = SHIPPED[request.param]
    models = ["model=fake"] if job == "ask" else []
    return build_graph(compose(job, [*overrides, *models, "embedder=hash"]))


def is_broken(graph: Graph) -> bool:
    """Tell by brute force whether a run of a graph breaks the policy."""
    return any(breaks(walk, NODES, over=over) for walk, over in walks(graph, visits=2))


def test_a_shipped_graph_breaks_nothing(graph: Graph) -> None:
    assert verify(graph) == []
    assert not is_broken(graph)


def test_exactly_the_mutants_that_break_the_policy_are_refused(graph: Graph) -> None:
    wrong, broken = [], []
    for mutant in mutants_of(graph):
        broken.append(is_broken(mutant.graph))
        if bool(verify(mutant.graph)) is not broken[-1]:
            wrong.append((mutant.what, broken[-1], list(map(str, verify(mutant.graph)))))
    assert wrong == []
    assert len(broken) > LEAST[graph.get_name()]
    assert 5 < sum(broken) < len(broken), "both kinds are there"
