"""Verification of graphs at random, compared with every run of them."""

from hypothesis import assume, given, settings

from markgraph.verification.verify import verify
from tests.verification.monitor import breaks
from tests.verification.mutants import walks
from tests.verification.random_graphs import Plan, made, plans, runs_of


@settings(max_examples=300)
@given(plans(parallel=False))
def test_finds_exactly_what_some_way_through_a_graph_breaks(plan: Plan) -> None:
    graph = made(plan, lambda ways: 0, [])
    broken = any(breaks(walk, plan.does, over=over) for walk, over in walks(graph, visits=3))
    assert bool(verify(graph)) is broken


@settings(max_examples=100)
@given(plans(parallel=True))
def test_finds_whatever_breaks_when_langgraph_runs_a_graph(plan: Plan) -> None:
    broken = [run for run, over in runs_of(plan, most=12, steps=8) if breaks(run, plan.does, over=over)]
    assume(broken)
    assert verify(made(plan, lambda ways: 0, [])), broken[0]
