"""Verification of graphs at random, compared with every run of them."""

import pytest
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


@pytest.mark.slow
@settings(max_examples=100)
@given(plans(parallel=True))
def test_finds_what_breaks_when_langgraph_runs_a_graph(plan: Plan) -> None:
    """Exactly that, where all runs come to an end within what is tried."""
    runs = list(runs_of(plan, most=24, steps=8))
    broken = [run for run, over in runs if breaks(run, plan.does, over=over)]
    all_of_them = len(runs) < 24 and all(over for _, over in runs)
    assume(broken or all_of_them)
    found = verify(made(plan, lambda ways: 0, []))
    not_for_sure = [each for each in found if "is deferred, but not for a Send" in each.why]
    assert bool(found) is bool(broken or not_for_sure), broken[:1]
