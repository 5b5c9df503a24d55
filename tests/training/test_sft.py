"""Supervised fine-tuning teaches each family planted facts, and leaves the base as it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from markgraph.errors import ConfigError, UsageError
from markgraph.training.base import Base
from markgraph.training.lora import Lora
from markgraph.training.render import completion_ids
from markgraph.training.scoring import load
from markgraph.training.sft import Sft
from tests.training.facts import FACTS, FAMILIES, answer, chat_rows, digests, job, tiny_base

STEPS = 60
FAST: dict[str, Any] = {
    "batch_size": 3,
    "learning_rate": 0.02,
    "warmup": 0.0,
    "epochs": STEPS,
    "save_steps": 999,
}


@pytest.mark.parametrize("lora", [Lora(r=8, alpha=16), None], ids=["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_planted_facts_are_learned(family: str, lora: Lora | None, tmp_path: Path) -> None:
    base = tiny_base(family, tmp_path)
    before = digests(base.folder)
    method = Sft(lora=lora, **FAST)
    training = method.training(job(base, chat_rows(), tmp_path, STEPS))
    training.train()
    training.save_model(str(tmp_path / "model"))

    losses = [entry["loss"] for entry in training.state.log_history if "loss" in entry]
    assert losses[-1] < 0.1 < 1.0 < losses[0]
    model = load(base, tmp_path / "model")
    assert [answer(base, model, question) for question in FACTS] == [
        completion_ids(base, fact) for fact in FACTS.values()
    ]
    scored = method.scores(base, tmp_path / "model", chat_rows())
    assert min(scored["completion_logp"]) > -0.1
    assert scored["token_accuracy"] == [1.0] * len(FACTS)
    assert max(method.scores(base, None, chat_rows())["completion_logp"]) < -1.0
    assert digests(base.folder) == before


def test_an_adapter_names_its_base_by_reference_and_holds_nothing_else(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    training = Sft(lora=Lora(r=2), **FAST).training(job(base, chat_rows(), tmp_path, 1))
    training.train()
    training.save_model(str(tmp_path / "model"))
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    config = json.loads((tmp_path / "model" / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == base.source


@pytest.mark.parametrize("place", ["generation_config.json", "config.json"])
def test_a_whole_model_ends_answers_where_its_base_does(place: str, tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    if place == "config.json":
        (base.folder / "generation_config.json").unlink()
    file = base.folder / place
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"eos_token_id": [1, 5]}), "utf-8")
    training = Sft(batch_size=3).training(job(base, chat_rows(), tmp_path, 1))
    training.train()
    training.save_model(str(tmp_path / "model"))
    assert Base("trained", f"file:{tmp_path / 'model'}").ends == {1, 5} == base.ends


def test_a_row_that_is_too_long_is_refused_and_named(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    method = Sft(max_tokens=10, **FAST)
    with pytest.raises(UsageError, match=f"Row {chat_rows()[0]['id'][:12]} from facts has .* Allowed: 10,"):
        method.training(job(base, chat_rows(), tmp_path, 1))


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ({"precision": "float16"}, "auto, float32, bfloat16"),
        ({"schedule": "downhill"}, "cosine, linear, "),
        ({"quantization": "nf4"}, "a quantised base with an adapter"),
        ({"quantization": "fp8"}, "nf4, or null"),
        ({"save_steps": 0}, "1 or more"),
        ({"eval_steps": 0}, "1 or more"),
        ({"learning_rate": 0.0}, "more than 0"),
        ({"warmup": 1.0}, "from 0, and below 1"),
        ({"weight_decay": -0.1}, "0 or more"),
    ],
    ids=str,
)
def test_settings_that_can_not_be_are_refused(setting: dict[str, Any], allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"method.{next(iter(setting))} is .* Allowed: {allowed}"):
        Sft(**setting)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_qlora_without_its_hardware_says_what_is_missing(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    with pytest.raises(UsageError, match=r"method\.quantization=nf4 needs an NVIDIA GPU"):
        Sft(lora=Lora(), quantization="nf4", **FAST).training(job(base, chat_rows(), tmp_path, 1))
