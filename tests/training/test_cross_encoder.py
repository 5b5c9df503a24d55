"""A cross-encoder learns to rerank and to judge claims, and the reranker reads what it saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from markgraph.errors import ConfigError
from markgraph.retrieval.rerank import CrossEncoder as Reader
from markgraph.training.cross_encoder import CrossEncoder, parts_of_auc
from markgraph.training.port import Job
from tests.training.encoders import entailments, searches, tiny_encoder

FAST: dict[str, Any] = {
    "batch_size": 32,
    "learning_rate": 3e-3,
    "warmup": 0.0,
    "text_tokens": 32,
    "epochs": 4,
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


def test_rows_of_another_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.kind is 'chat'. Allowed: search, entailment"):
        CrossEncoder(kind="chat")
