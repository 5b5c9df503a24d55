"""A cross-encoder learns to rerank and to judge claims, and the reranker reads what it saved."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from markgraph.errors import ConfigError, UsageError
from markgraph.retrieval.rerank import CrossEncoder as Reader
from markgraph.training.cross_encoder import CrossEncoder, Others, Pair, parts_of_auc
from markgraph.training.data.source import digest
from markgraph.training.journal import Journal
from markgraph.training.port import Job, Scores
from markgraph.training.rows import Row
from tests.training.encoders import entailments, searches, tiny_encoder

FAST: dict[str, Any] = {
    "batch_size": 32,
    "learning_rate": 3e-3,
    "warmup": 0.0,
    "text_tokens": 32,
    "epochs": 4,
    "negatives": 1,
}


@pytest.mark.parametrize("kind", ["search", "entailment"])
def test_held_back_rows_are_told_apart_after_training(kind: Any, tmp_path: Path) -> None:
    base = tiny_encoder(tmp_path / "base")
    rows, held = (
        searches(count, seed, topics=4) if kind == "search" else entailments(2 * count, seed)
        for count, seed in ((240, 0), (32, 1))
    )
    method = CrossEncoder(**FAST, kind=kind)
    training = method.training(Job(base, rows, held, tmp_path))
    training.train()
    training.save_model(str(tmp_path / "model"))

    scores = method.scores(base, tmp_path / "model", held)
    assert np.mean(scores["auc"]) > 0.9
    assert method.scores(base, None, held)["auc"] == [0.5] * len(held)
    if kind == "entailment":
        assert np.mean(scores["accuracy"]) > 0.8
    else:
        reader = Reader(f"file:{tmp_path / 'model'}")
        texts = [held[0]["positive"], *held[0]["negatives"]]
        assert np.argmax(reader.scores(held[0]["query"], texts)) == 0


@pytest.mark.parametrize("kind", ["search", "entailment"])
def test_weights_that_are_no_numbers_tell_nothing_apart(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(self: Reader, query: str, passages: list[str]) -> list[float]:
        return [math.nan] * len(passages)

    monkeypatch.setattr(Reader, "scores", nothing)
    held = searches(8, 1) if kind == "search" else entailments(8, 1)
    scores = CrossEncoder(**FAST, kind=kind).scores(tiny_encoder(tmp_path / "base"), tmp_path, held)
    assert {metric: all(map(math.isnan, values)) for metric, values in scores.items()} == dict.fromkeys(
        scores, True
    )


def without_negatives(count: int, others: int, seed: int) -> list[Row]:
    """Return rows of one question with passages on its topic, and a few of another question.

    No passage of the first is wrong for it, so what is drawn is on the other topic: easily learned.
    """
    made = searches(2 * count, seed, topics=2)
    rows = made[::2] + made[1::2][:others]
    for row in rows:
        row |= {"query": "ask0" if "answer0" in row["positive"] else "ask1", "negatives": []}
    return rows


def row(name: str, query: str, positive: str, *negatives: str) -> Row:
    return Row(
        id=name,
        source="test",
        documents=[],
        readers=["public"],
        query=query,
        positive=positive,
        negatives=[*negatives],
    )


def test_rows_without_negatives_are_learned_from_and_told_apart(tmp_path: Path) -> None:
    base, held = tiny_encoder(tmp_path / "base"), without_negatives(24, 2, seed=1)
    method = CrossEncoder(**FAST)
    training: Any = method.training(Job(base, without_negatives(160, 8, seed=0), held, tmp_path))
    training.train()
    training.save_model(str(tmp_path / "model"))

    auc = method.scores(base, tmp_path / "model", held)["auc"]
    assert np.mean(auc) > 0.85
    texts = [held[0]["positive"], held[-1]["positive"]]
    assert np.argmax(Reader(f"file:{tmp_path / 'model'}").scores(held[0]["query"], texts)) == 0

    begun = Journal(tmp_path / "scores.jsonl", ["model"], lambda row, rows: None)
    asked: list[int] = []

    def stopped(score: Any, rows: Any, at_once: int = 1) -> Scores:
        def some(some: Any) -> Scores:
            if len(asked) == 9:
                raise InterruptedError
            asked.append(1)
            return score(some)  # type: ignore[no-any-return]

        return begun(some, rows, at_once)

    with pytest.raises(InterruptedError):
        method.scores(base, tmp_path / "model", held, stopped)
    assert method.scores(base, tmp_path / "model", held, begun)["auc"] == auc


def test_draws_for_each_row_the_same_passages_of_other_rows_whenever_it_is_asked() -> None:
    rows = [row(f"{at}", f"q{at}", f"p{at}") for at in range(40)]
    drawn = [Others(rows, 3)(each) for each in rows]
    others = Others(rows, 3)
    assert [others(each) for each in reversed(rows)] == drawn[::-1]
    for each, texts in zip(rows, drawn, strict=True):
        assert len({*texts}) == 3
        assert {*texts} <= {f"p{at}" for at in range(40)} - {each["positive"]}
    assert len({text for texts in drawn for text in texts}) > 20, "not the same few for all"
    assert [Others(rows, 3, seed=1)(each) for each in rows] != drawn


def test_draws_no_passage_that_answers_the_question_and_only_as_many_as_are_missing() -> None:
    rows = [row("1", "who", "a"), row("2", "who", "b"), row("3", "when", "c", "d"), row("4", "how", "a")]
    drawn = [Others(rows, 2)(each) for each in rows]
    assert [sorted(texts) for texts in drawn[:2]] == [["c", "d"], ["c", "d"]]
    assert len(drawn[2]) == 1
    assert {*drawn[2]} <= {"a", "b"}
    assert Others(rows, 1)(rows[2]) == []
    assert Others(rows[:2], 2)(rows[0]) == [], "there is no other"


def test_a_rows_own_negatives_come_first_and_nothing_comes_from_the_other_side(tmp_path: Path) -> None:
    rows = [row("1", "who", "a", "x", "y", "z"), row("2", "when", "b")]
    held = [row("3", "how", "c"), row("4", "why", "d")]
    training: Any = CrossEncoder(**FAST | {"negatives": 2}).training(
        Job(tiny_encoder(tmp_path / "base"), rows, held, tmp_path)
    )
    pairs: list[Pair] = training.train_dataset
    assert pairs[:4] == [("who", "a", 1), ("who", "x", 0), ("who", "y", 0), ("when", "b", 1)]
    assert len(pairs) == 6
    assert {pair.second for pair in pairs[4:]} <= set("axyz")
    assert training.eval_dataset == [("how", "c", 1), ("how", "d", 0), ("why", "d", 1), ("why", "c", 0)]


def test_says_so_where_no_passage_is_wrong_for_any_question(tmp_path: Path) -> None:
    rows = [row("1", "who", "a"), row("2", "when", "a")]
    job = Job(tiny_encoder(tmp_path / "base"), rows, [], tmp_path)
    with pytest.raises(
        UsageError, match=r"got 2 rows with 1 passages in all\. Allowed: rows with `negatives`"
    ):
        CrossEncoder(**FAST).training(job)
    with pytest.raises(ConfigError, match=r"method\.negatives is 0\. Allowed: 1 or more"):
        CrossEncoder(negatives=0)


@pytest.mark.parametrize(
    ("logits", "labels", "parts"),
    [
        ([2.0, 1.0, -1.0], [1, 0, 0], [1.0, 1.0, 1.0]),
        ([2.0, 3.0, -1.0], [1, 0, 0], [0.5, 0.0, 1.0]),
        ([1.0, 1.0], [1, 0], [0.5, 0.5]),
        ([1.0, 2.0], [1, 1], [0.5, 0.5]),  # nothing to be told apart from
    ],
)
def test_parts_of_the_area_under_the_curve(
    logits: list[float], labels: list[int], parts: list[float]
) -> None:
    assert parts_of_auc(np.array(logits), np.array(labels)) == parts


def test_what_is_known_to_be_right_too_is_not_drawn() -> None:
    rows = [{**row("1", "who", "a"), "right": [digest("b")]}, row("2", "when", "b"), row("3", "why", "c")]
    assert Others(rows, 3)(rows[0]) == ["c"]  # type: ignore[arg-type]  # these are rows


def test_says_so_where_all_claims_are_alike(tmp_path: Path) -> None:
    claims = [row for row in entailments(9, 0) if row["label"] == 1]
    with pytest.raises(UsageError, match=rf"All {len(claims)} rows have the label 1\. Allowed: rows of 0"):
        CrossEncoder(kind="entailment").training(Job(tiny_encoder(tmp_path / "base"), claims, [], tmp_path))


def test_rows_of_another_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.kind is 'chat'. Allowed: search, entailment"):
        CrossEncoder(kind="chat")
