"""Distillation: its loss is what it is worked out to be, and a student becomes like its teacher."""

import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from markgraph.errors import ConfigError
from markgraph.training.base import Base
from markgraph.training.distill import Distill, distillation
from markgraph.training.lora import Lora
from markgraph.training.sft import Sft
from tests.engines.tiny import tiny_llama
from tests.training.facts import FAMILIES, chat_rows, job, tiny_base

STEPS = 30
FAST: dict[str, Any] = {"batch_size": 3, "learning_rate": 0.02, "warmup": 0.0, "epochs": STEPS}


def test_the_loss_is_what_it_is_worked_out_to_be() -> None:
    # p = (3/4, 1/4) of the teacher, q = (1/2, 1/2) of the student, both at T = 2.
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    student = torch.tensor([[5.0, 5.0]])
    kl, nll = distillation(student, teacher, torch.tensor([1]), 2.0)
    by_hand = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)  # 0.1308
    assert kl.tolist() == pytest.approx([4 * by_hand])
    assert nll.tolist() == pytest.approx([math.log(2.0)])


def test_padding_behind_a_vocabulary_is_left_out() -> None:
    padded, student = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[1.0, 2.0]])
    kl, _ = distillation(student, padded, torch.tensor([0]), 1.0)
    assert kl.tolist() == pytest.approx([0.0], abs=1e-7)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Return a model that knows the facts."""
    folder = tmp_path_factory.mktemp("teacher")
    base = tiny_base("llama", folder)
    training = Sft(**FAST).training(job(base, chat_rows(), folder, STEPS))
    training.train()
    training.save_model(str(folder / "model"))
    return Base("teacher", f"file:{folder / 'model'}")


@pytest.mark.parametrize("lora", [Lora(r=8, alpha=16), None], ids=["lora", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_becomes_like_its_teacher(
    family: str, lora: Lora | None, teacher: Base, tmp_path: Path
) -> None:
    base = tiny_base(family, tmp_path)
    method = Distill(teacher=teacher.source, lora=lora, alpha=1.0, **FAST)
    training = method.training(job(base, chat_rows(), tmp_path, STEPS))
    training.train()
    training.save_model(str(tmp_path / "model"))
    before = method.scores(base, None, chat_rows())
    after = method.scores(base, tmp_path / "model", chat_rows())
    assert fmean(before["nearness"]) < -3.0
    assert fmean(after["nearness"]) > -1.0
    assert fmean(after["completion_logp"]) > fmean(before["completion_logp"]) + 2.0


def test_a_teacher_with_other_tokens_is_refused(teacher: Base, tmp_path: Path) -> None:
    base = Base("student", tiny_llama(tmp_path / "student"))
    base.tokenizer.add_tokens(["unheard"])
    with pytest.raises(ConfigError, match="'unheard' for one"):
        Distill(teacher=teacher.source, **FAST).training(job(base, chat_rows(), tmp_path, 1))
