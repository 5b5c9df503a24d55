"""An embedder learns which words ask and which answer, and is served as it was trained."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from markgraph.errors import ConfigError
from markgraph.evaluation.comparison import compare
from markgraph.models.embed import TransformerEmbeddings
from markgraph.models.weights import load_encoder
from markgraph.training.base import Base
from markgraph.training.data.source import digest
from markgraph.training.embedder import Collator, Embedder, also, pooled, right_of
from markgraph.training.lora import Lora
from markgraph.training.port import Job
from markgraph.training.rows import Row
from tests.training.encoders import searches, tiny_encoder

FAST: dict[str, Any] = {
    "batch_size": 16,
    "learning_rate": 3e-3,
    "warmup": 0.0,
    "text_tokens": 32,
    "epochs": 16,
}


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_held_back_questions_find_their_passage_after_training_and_are_embedded_as_trained(
    tmp_path: Path,
) -> None:
    base, held = tiny_encoder(tmp_path / "base"), searches(24, seed=1)
    method = Embedder(**FAST)
    training: Any = method.training(Job(base, searches(240, seed=0), held, tmp_path))
    training.train()
    training.save_model(str(tmp_path / "model"))

    before, after = (
        mean(method.scores(base, model, held)["reciprocal_rank"]) for model in (None, tmp_path / "model")
    )
    assert before < 0.1
    assert after > 0.3, "two of these passages, on average, are on the topic of a question"
    losses = [entry["eval_loss"] for entry in training.state.log_history if "eval_loss" in entry]
    assert losses[-1] < losses[0]
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not [name for name in names if name.endswith((".bin", ".pt"))]

    text = held[0]["positive"]
    served = TransformerEmbeddings(f"file:{tmp_path / 'model'}", max_tokens=32).embed_query(text)
    tokens = dict(training.processing_class([text], return_tensors="pt"))
    with torch.no_grad():
        trained = pooled(training.model.eval(), tokens)[0]
    assert torch.allclose(torch.tensor(served), trained, atol=1e-5)


def scaled(base: Base, by: float) -> Base:
    """Return the base with what its last layer says scaled, and 1 added."""
    file = base.folder / "model.safetensors"
    tensors = load_file(file)
    tensors["encoder.layer.1.output.LayerNorm.weight"] *= by
    tensors["encoder.layer.1.output.LayerNorm.bias"] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    return base


def test_who_says_the_same_of_all_passages_puts_the_right_one_behind_the_others(tmp_path: Path) -> None:
    base, held = scaled(tiny_encoder(tmp_path / "same"), 0.0), searches(24, seed=1)
    passages = {text for row in held for text in (row["positive"], *row["negatives"])}
    scores = Embedder(**FAST).scores(base, None, held)["reciprocal_rank"]
    assert scores == [1 / len(passages)] * len(held)


def test_weights_that_are_no_numbers_have_no_score_and_are_not_accepted(tmp_path: Path) -> None:
    base, held = tiny_encoder(tmp_path / "base"), searches(24, seed=1)
    method = Embedder(**FAST)
    before = method.scores(base, None, held)
    scores = method.scores(scaled(base, math.nan), None, held)
    assert all(map(math.isnan, scores["reciprocal_rank"]))
    verdict = compare(before, scores, method.metric, {})
    assert verdict.reasons == ("reciprocal_rank: a score of the candidate is no finite number",)


def test_a_passage_of_two_questions_is_there_once_and_is_right_for_both(tmp_path: Path) -> None:
    tokenizer, _ = load_encoder(tiny_encoder(tmp_path / "base").folder)
    first, second = searches(2, seed=0)
    second["positive"] = first["positive"]
    batch = Collator(tokenizer, 32, 1, right_of([first, second]))([first, second])
    assert len(batch["passages"]["input_ids"]) == 3
    assert batch["right"].tolist() == [0, 0]


def test_another_passage_that_answers_a_question_is_not_wrong_for_it() -> None:
    first, second = searches(2, seed=0, topics=2)
    texts = [first["positive"], second["positive"]]
    assert not also([first, second], texts, right_of([first, second])).any()
    known: Row = {**first, "right": [digest(text) for text in texts]}
    assert also([known, second], texts, right_of([known, second])).tolist() == [[False, True], [False, False]]


def test_the_passages_of_rows_with_one_query_are_not_wrong_for_each_other(tmp_path: Path) -> None:
    first, second, third = searches(3, seed=0)
    second["query"] = first["query"]
    third["negatives"] = [second["positive"]]
    training: Any = Embedder(**FAST).training(
        Job(tiny_encoder(tmp_path / "base"), [first, second, third], [], tmp_path)
    )
    both = training.data_collator([first, second])
    assert both["also"][:, both["right"]].tolist() == [[False, True], [True, False]]
    apart = training.data_collator([first, third])  # the other passage of its query is there without its row
    assert apart["also"].sum(1).tolist() == [1, 0]


def test_a_passage_is_not_ranked_behind_another_that_is_right_too(tmp_path: Path) -> None:
    base, held = scaled(tiny_encoder(tmp_path / "base"), 0.0), searches(3, seed=1)
    for row in held:
        row["negatives"] = []
    assert Embedder(**FAST).scores(base, None, held)["reciprocal_rank"] == [1 / 3] * 3
    held[1]["query"] = held[0]["query"]
    assert Embedder(**FAST).scores(base, None, held)["reciprocal_rank"] == [1 / 2, 1 / 2, 1 / 3]


def test_an_encoder_of_its_own_takes_the_place_of_the_jobs_base(tmp_path: Path) -> None:
    own, other = tiny_encoder(tmp_path / "own"), tiny_encoder(tmp_path / "other")
    (other.folder / "model.safetensors").unlink()
    method = Embedder(**FAST, base=own)
    assert len(method.scores(other, None, searches(3, seed=1))["reciprocal_rank"]) == 3


def test_adapters_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.lora"):
        Embedder(lora=Lora())
