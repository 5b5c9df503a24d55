"""A candidate is accepted where it is shown to be better, and refused wherever that is in doubt."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from markgraph.evaluation.comparison import MIN_ROWS, compare

DRAW = np.random.default_rng(3)
BEFORE = DRAW.uniform(0, 0.5, 60).tolist()
BETTER = [value + 0.1 for value in BEFORE]


def test_accepts_what_is_better_on_every_question() -> None:
    verdict = compare({"f1": BEFORE}, {"f1": BETTER}, "f1", {})
    assert (verdict.accepted, verdict.reasons, verdict.rows) == (True, (), 60)
    found = verdict.differences["f1"]
    assert (found.low, found.mean, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found.candidate - found.champion == pytest.approx(found.mean)
    assert json.loads(json.dumps(asdict(verdict)))["differences"]["f1"]["mean"] == found.mean


def test_the_interval_is_that_of_the_pairs_and_follows_the_confidence() -> None:
    after = [value + step for value, step in zip(BEFORE, DRAW.normal(0.02, 0.05, 60), strict=True)]
    wide = compare({"f1": BEFORE}, {"f1": after}, "f1", {}, confidence=0.99).differences["f1"]
    usual = compare({"f1": BEFORE}, {"f1": after}, "f1", {}).differences["f1"]
    steps = np.subtract(after, BEFORE)
    expected = 1.96 * steps.std() / np.sqrt(60)
    assert usual.high - usual.low == pytest.approx(2 * expected, rel=0.1)
    assert wide.low < usual.low < usual.mean < usual.high < wide.high


def test_the_same_scores_give_the_same_verdict() -> None:
    after = DRAW.uniform(0, 0.6, 60).tolist()
    assert compare({"f1": BEFORE}, {"f1": after}, "f1", {}, seed=5) == compare(
        {"f1": BEFORE}, {"f1": after}, "f1", {}, seed=5
    )
    other = compare({"f1": BEFORE}, {"f1": after}, "f1", {}, seed=6).differences["f1"]
    assert other != compare({"f1": BEFORE}, {"f1": after}, "f1", {}, seed=5).differences["f1"]


@pytest.mark.parametrize("after", [BEFORE, list(reversed(BEFORE)), [value - 0.1 for value in BEFORE]])
def test_refuses_what_is_not_better(after: list[float]) -> None:
    verdict = compare({"f1": BEFORE}, {"f1": after}, "f1", {})
    assert not verdict.accepted
    assert verdict.reasons[0].startswith("f1: not better, ")


def test_refuses_a_better_mean_that_chance_explains() -> None:
    after = [value + (2.0 if at == 0 else -0.01) for at, value in enumerate(BEFORE)]
    verdict = compare({"f1": BEFORE}, {"f1": after}, "f1", {})
    assert verdict.differences["f1"].mean > 0
    assert not verdict.accepted


def test_a_guard_may_fall_by_its_allowance_and_no_further() -> None:
    sure = [1.0] * 60
    fallen = [1.0] * 54 + [0.0] * 6
    scores = {"f1": BETTER, "groundedness": fallen}
    kept = compare({"f1": BEFORE, "groundedness": sure}, scores, "f1", {"groundedness": 0.25})
    assert kept.accepted
    lost = compare({"f1": BEFORE, "groundedness": sure}, scores, "f1", {"groundedness": 0.1})
    assert lost.reasons == (
        "groundedness: may have fallen, 1 to 0.9, a difference of -0.1 [-0.1833, -0.03333]; "
        "allowed is a fall of 0.1",
    )


def test_a_guard_may_fall_by_a_part_of_what_the_champion_has() -> None:
    before, after = {"f1": BEFORE, "latency": [-2.0] * 60}, {"f1": BETTER, "latency": [-2.5] * 60}
    assert compare(before, after, "f1", {"latency": "25%"}).accepted
    assert compare(before, after, "f1", {"latency": "20%"}).reasons == (
        "latency: may have fallen, -2 to -2.5, a difference of -0.5 [-0.5, -0.5]; "
        "allowed is a fall of 0.4, 20% of the champion's",
    )


def test_a_guard_that_did_not_move_holds_with_no_allowance() -> None:
    same = DRAW.uniform(0, 1, 60).tolist()
    assert compare(
        {"f1": BEFORE, "speed": same}, {"f1": BETTER, "speed": same}, "f1", {"speed": 0.0}
    ).accepted


def test_reports_what_is_no_guard_and_lets_it_fall() -> None:
    verdict = compare({"f1": BEFORE, "bleu": BETTER}, {"f1": BETTER, "bleu": BEFORE}, "f1", {})
    assert verdict.accepted
    assert verdict.differences["bleu"].high < 0


@pytest.mark.parametrize(
    ("champion", "candidate", "reason"),
    [
        ({}, {"f1": BETTER}, "f1: the champion has no such score; it has none"),
        ({"f1": BEFORE}, {"bleu": BETTER}, "f1: the candidate has no such score; it has bleu"),
        ({"f1": BEFORE}, {"f1": [*BETTER[:-1], float("nan")]}, "f1: a score of the candidate is no finite"),
        ({"f1": [float("-inf"), *BEFORE[1:]]}, {"f1": BETTER}, "f1: a score of the champion is no finite"),
        ({"f1": BEFORE}, {"f1": BETTER[:-1]}, "f1: the champion has 60 questions, the candidate 59"),
        ({"f1": BEFORE[: MIN_ROWS - 1]}, {"f1": BETTER[: MIN_ROWS - 1]}, "f1: 19 questions are too few"),
        ({"f1": []}, {"f1": []}, "f1: 0 questions are too few"),
    ],
)
def test_refuses_what_can_not_be_compared(
    champion: dict[str, list[float]], candidate: dict[str, list[float]], reason: str
) -> None:
    verdict = compare(champion, candidate, "f1", {})
    assert not verdict.accepted
    assert verdict.reasons[0].startswith(reason)
    guarded = compare({"main": BEFORE} | champion, {"main": BETTER} | candidate, "main", {"f1": 1000.0})
    assert not guarded.accepted, "a guard that can't be compared refuses, whatever it allows"
    assert guarded.reasons[0].startswith(reason.partition(";")[0])


def test_names_all_reasons() -> None:
    verdict = compare({"f1": BETTER}, {"f1": BEFORE}, "f1", {"groundedness": 0.1, "refusal": 0.1})
    assert [reason.partition(":")[0] for reason in verdict.reasons] == ["f1", "groundedness", "refusal"]


@pytest.mark.parametrize("allowance", [-0.1, float("nan"), float("inf"), "-5%", "nan%", "half", "0.1", "%"])
def test_an_allowance_is_a_number_of_zero_or_more_or_a_part(allowance: float | str) -> None:
    with pytest.raises(ValueError, match="Guard 'f1' allows a fall of"):
        compare({"f1": BEFORE}, {"f1": BETTER}, "f1", {"f1": allowance})


def test_of_candidates_that_are_no_better_few_are_accepted() -> None:
    accepted = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        before, after = draw.uniform(0, 1, (2, 40))
        accepted += compare({"f1": before.tolist()}, {"f1": after.tolist()}, "f1", {}).accepted
    assert accepted <= 11, "2.5 % of such candidates are 5; more than 11 come once in a hundred such tests"
