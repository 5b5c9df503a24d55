"""Fusion of rankings, as functions of scores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markgraph.errors import ConfigError
from markgraph.retrieval.fusion import Convex, ReciprocalRank

DENSE = {"a": 0.8, "b": 0.6, "c": 0.2}
WORDS = {"c": 12.0, "a": 3.0, "d": 1.5}
SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.01, 50), min_size=1).map(
    lambda scores: dict(sorted(scores.items(), key=lambda each: -each[1]))
)


def order(scores: dict[str, float]) -> list[str]:
    return sorted(scores, key=lambda id_: -scores[id_])


def test_reciprocal_ranks_add_up() -> None:
    assert ReciprocalRank()([DENSE, WORDS], 3) == pytest.approx(
        {"a": 1 / 61 + 1 / 62, "b": 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 63}
    )


def test_scores_are_scaled_between_the_floor_and_the_best_and_weighted() -> None:
    assert Convex(0.75)([DENSE, WORDS], 10) == pytest.approx(
        {
            "a": 0.75 * 1 + 0.25 * 3 / 12,
            "b": 0.75 * 1.6 / 1.8,
            "c": 0.75 * 1.2 / 1.8 + 0.25 * 1,
            "d": 0.25 * 1.5 / 12,
        }
    )


def test_what_a_part_left_out_counts_as_the_last_that_it_returned() -> None:
    exhausted, cut = Convex(0.75)([DENSE, WORDS], 4), Convex(0.75)([DENSE, WORDS], 3)
    assert cut["d"] - exhausted["d"] == pytest.approx(0.75 * 1.2 / 1.8)
    assert cut["b"] - exhausted["b"] == pytest.approx(0.25 * 1.5 / 12)
    assert cut["a"] == exhausted["a"]


@pytest.mark.parametrize(("weight", "best"), [(1.0, ["a", "b", "c"]), (0.0, ["c", "a", "d"])])
def test_at_its_ends_the_weight_leaves_one_part_alone(weight: float, best: list[str]) -> None:
    assert order(Convex(weight)([DENSE, WORDS], 10))[:3] == best


def test_three_parts_share_what_the_first_leaves() -> None:
    fused = Convex(0.5, (-1.0, 0.0, 0.0))([{"a": 0.5}, {"b": 2.0}, {"c": 9.0}], 10)
    assert fused == pytest.approx({"a": 0.5, "b": 0.25, "c": 0.25})


@given(first=SCORES, second=SCORES, factor=st.floats(0.1, 10))
def test_the_scale_of_bm25_does_not_matter(
    first: dict[str, float], second: dict[str, float], factor: float
) -> None:
    scaled = {id_: score * factor for id_, score in second.items()}
    one, other = (Convex(0.9, (0.0, 0.0))([first, words], 8) for words in (second, scaled))
    assert one == pytest.approx(other)


@given(first=SCORES, second=SCORES)
def test_a_chunk_that_both_parts_put_first_is_first(
    first: dict[str, float], second: dict[str, float]
) -> None:
    rankings = [{"best": 60.0} | first, {"best": 60.0} | second]
    for fusion in (ReciprocalRank(), Convex(0.9, (0.0, 0.0)), Convex(0.3, (0.0, 0.0))):
        assert order(fusion(rankings, 9))[0] == "best"


def test_parts_that_find_nothing_leave_the_others_order() -> None:
    assert order(Convex()([DENSE, {}], 10)) == ["a", "b", "c"]
    assert order(Convex()([{}, WORDS], 10)) == ["c", "a", "d"]
    assert Convex()([{}, {}], 10) == {}
    assert Convex()([], 10) == {}


def test_scores_at_the_floor_are_no_fault() -> None:
    assert Convex(0.5)([{"a": -1.0}, {"a": 0.0, "b": 0.0}], 10)["a"] == pytest.approx(1.0)


def test_names_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match=r"Convex.weight is 1.5; allowed: 0 to 1"):
        Convex(1.5)
    with pytest.raises(ConfigError, match=r"floors has 2 values for 3 parts"):
        Convex()([DENSE, WORDS, WORDS], 10)
