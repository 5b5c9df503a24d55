"""Metrics agree with trec_eval, intervals with what they are said to hold."""

import random

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, Qrel, R, ScoredDoc, nDCG

from markgraph.evaluation.intervals import interval_of
from markgraph.evaluation.metrics import ndcg, recall, reciprocal_rank

DOCUMENTS = [f"d{n}" for n in range(150)]


@pytest.mark.parametrize("seed", range(25))
def test_agrees_with_trec_eval(seed: int) -> None:
    draw = random.Random(seed)
    ranked = draw.sample(DOCUMENTS, draw.randint(1, len(DOCUMENTS)))
    judged = draw.sample([*DOCUMENTS, "missing"], draw.randint(1, 40))
    qrels = {document: draw.choice([0, 0, 1, 1, 2, 3]) for document in judged} | {judged[0]: 1}
    run = [ScoredDoc("q", document, -float(rank)) for rank, document in enumerate(ranked)]
    expected = ir_measures.calc_aggregate(
        [nDCG @ 10, R @ 10, R @ 100, RR], [Qrel("q", *each) for each in qrels.items()], run
    )
    assert ndcg(ranked, qrels, 10) == pytest.approx(expected[nDCG @ 10])
    assert recall(ranked, qrels, 10) == pytest.approx(expected[R @ 10])
    assert recall(ranked, qrels, 100) == pytest.approx(expected[R @ 100])
    assert reciprocal_rank(ranked, qrels) == pytest.approx(expected[RR])


def test_scores_by_hand() -> None:
    qrels = {"a": 1, "b": 1, "c": 0}
    assert ndcg(["c", "a"], qrels, 10) == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert recall(["c", "a"], qrels, 10) == 0.5
    assert reciprocal_rank(["c", "a"], qrels) == 0.5
    assert (ndcg([], qrels, 10), recall([], qrels, 10), reciprocal_rank([], qrels)) == (0, 0, 0)


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    intervals = [interval_of(draw.exponential(1.0, 60)) for _ in range(200)]
    held = sum(interval.low <= 1.0 <= interval.high for interval in intervals)
    assert 0.87 <= held / 200 <= 0.99


def test_an_interval_is_the_same_for_the_same_values_and_narrows_with_more() -> None:
    values = [0.0, 1.0, 1.0, 0.5]
    assert interval_of(values) == interval_of(values)
    few, many = interval_of(values), interval_of(values * 50)
    assert few.mean == many.mean == 0.625
    assert many.high - many.low < (few.high - few.low) / 4
    assert interval_of([0.25, 0.25]) == (0.25, 0.25, 0.25)
    with pytest.raises(ValueError, match="at least one"):
        interval_of([])
