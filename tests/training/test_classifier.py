"""Reward models of each family give the same score with padding and without, trained and loaded again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from markgraph.training.classifier import register, reward_model
from markgraph.training.lora import Lora
from markgraph.training.pairs import pairs
from markgraph.training.reward import Reward, rewarded
from tests.training.facts import FAMILIES, job, pair_rows, tiny_base

IDS = [5, 9, 40, 41, 42, 7]


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_makes_no_difference(family: str, tmp_path: Path) -> None:
    base = tiny_base(family, tmp_path)
    model = reward_model(base)
    pad = model.config.pad_token_id
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([IDS]), attention_mask=torch.ones(1, len(IDS), dtype=torch.long))
        for padded, mask in (
            ([*IDS, pad, pad], [1] * len(IDS) + [0, 0]),
            ([pad, pad, *IDS], [0, 0] + [1] * len(IDS)),
        ):
            beside = model(
                input_ids=torch.tensor([padded, [7] * 8]), attention_mask=torch.tensor([mask, [1] * 8])
            )
            torch.testing.assert_close(beside.logits[0], alone.logits[0])


@pytest.mark.parametrize("lora", [Lora(r=4), None], ids=["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_reward_model_is_loaded_as_it_was_trained(family: str, lora: Lora | None, tmp_path: Path) -> None:
    base = tiny_base(family, tmp_path)
    training: Any = Reward(lora=lora, learning_rate=0.01).training(job(base, pair_rows(), tmp_path, 2))
    training.train()
    training.save_model(str(tmp_path / "model"))
    told = pairs(base, pair_rows())[0].chosen
    trained = rewarded(training.model.eval(), told)
    assert trained != rewarded(reward_model(base), told)
    assert rewarded(reward_model(base, tmp_path / "model", seed=7), told) == pytest.approx(trained, abs=1e-5)


def test_transformers_finds_them_by_their_folder(tmp_path: Path) -> None:
    base = tiny_base("mamba2", tmp_path)
    reward_model(base).save_pretrained(tmp_path / "whole")
    register()
    found = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole")
    told = pairs(base, pair_rows())[0].chosen
    assert rewarded(found.eval(), told) == pytest.approx(rewarded(reward_model(base), told), abs=1e-6)


def test_a_base_without_a_score_is_at_chance(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    assert Reward().scores(base, None, pair_rows())["pair_accuracy"] == [0.5] * 3
