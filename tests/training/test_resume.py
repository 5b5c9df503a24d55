"""A training that breaks off goes on from its last checkpoint to the very weights of the unbroken one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from markgraph.training.base import Base
from markgraph.training.distill import Distill
from markgraph.training.dpo import Dpo
from markgraph.training.kto import Kto
from markgraph.training.lora import Lora
from markgraph.training.port import Method
from markgraph.training.reward import Reward
from markgraph.training.rows import Row
from markgraph.training.sft import Sft
from tests.training.facts import chat_rows, job, pair_rows, rated_rows, tiny_base

STEPS, BROKEN, SAVED = 8, 5, 3
SETTINGS: dict[str, Any] = {
    "lora": Lora(r=4, dropout=0.1),  # its draws have to go on, too
    "batch_size": 2,
    "learning_rate": 0.01,
    "epochs": STEPS,
    "save_steps": SAVED,
    "warmup": 0.2,
    "weight_decay": 0.01,
}
METHODS: dict[str, tuple[Callable[[Base], Method], Callable[[], list[Row]]]] = {
    "sft": (lambda base: Sft(**SETTINGS), chat_rows),
    "full": (lambda base: Sft(**(SETTINGS | {"lora": None})), chat_rows),
    "reward": (lambda base: Reward(**SETTINGS), pair_rows),
    "dpo": (lambda base: Dpo(**SETTINGS), pair_rows),
    "kto": (lambda base: Kto(**SETTINGS), rated_rows),
    "distill": (lambda base: Distill(teacher=base.source, **SETTINGS), chat_rows),
}


class Broken(Exception):  # noqa: N818 -- nothing is wrong
    """Ends a training as a kill would."""


class Break(TrainerCallback):
    """Breaks a training off behind a step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == BROKEN:
            raise Broken


@pytest.mark.parametrize("name", METHODS)
def test_a_training_that_broke_off_ends_with_the_same_weights(name: str, tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    make, rows = METHODS[name]

    def weights(folder: Path, start: Path | None) -> dict[str, torch.Tensor]:
        training = make(base).training(job(base, rows(), folder, STEPS))
        training.train(resume_from_checkpoint=str(start) if start else None)
        training.save_model(str(folder / "model"))
        return load_file(next((folder / "model").glob("*.safetensors")))

    unbroken = weights(tmp_path / "unbroken", None)
    torch.rand(7)  # whatever came before in the process makes no difference
    broken = make(base).training(job(base, rows(), tmp_path / "broken", STEPS, callbacks=[Break()]))
    with pytest.raises(Broken):
        broken.train()
    went_on = weights(tmp_path / "broken", tmp_path / "broken" / "checkpoints" / f"checkpoint-{SAVED}")

    assert went_on.keys() == unbroken.keys()
    assert all(torch.equal(went_on[key], unbroken[key]) for key in unbroken)
