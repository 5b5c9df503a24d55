"""Preferences are learned by each family, with an adapter and with all weights."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from markgraph.training.dpo import Dpo
from markgraph.training.kto import Kto
from markgraph.training.lora import Lora
from markgraph.training.port import Method
from markgraph.training.reward import Reward
from markgraph.training.rows import Row
from tests.training.facts import FAMILIES, digests, job, pair_rows, rated_rows, tiny_base

STEPS = 8
FAST: dict[str, Any] = {"batch_size": 6, "learning_rate": 0.01, "warmup": 0.0, "epochs": STEPS}
LORA = Lora(r=8, alpha=16)


def trained(method: Method, rows: list[Row], family: str, folder: Path) -> dict[str, list[float]]:
    """Train a tiny model, and return what it scores; its base stays as it was."""
    base = tiny_base(family, folder)
    before = digests(base.folder)
    training = method.training(job(base, rows, folder, STEPS))
    training.train()
    training.save_model(str(folder / "model"))
    assert digests(base.folder) == before
    return dict(method.scores(base, folder / "model", rows))


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_dpo_puts_the_better_answers_ahead(family: str, lora: Lora | None, tmp_path: Path) -> None:
    scores = trained(Dpo(lora=lora, **FAST), pair_rows(), family, tmp_path)
    assert scores["pair_accuracy"] == [1.0] * 3
    assert fmean(scores["pair_margin"]) > 0.5
    assert max(scores["nearness"]) < 0.0


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_kto_parts_liked_from_disliked(family: str, lora: Lora | None, tmp_path: Path) -> None:
    scores = trained(Kto(lora=lora, **FAST), rated_rows(), family, tmp_path)
    assert fmean(scores["separation"]) > 0.2


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_reward_model_scores_better_answers_higher(family: str, lora: Lora | None, tmp_path: Path) -> None:
    scores = trained(Reward(lora=lora, **FAST), pair_rows(), family, tmp_path)
    assert scores["pair_accuracy"] == [1.0] * 3
    assert min(scores["pair_margin"]) > 0.5
