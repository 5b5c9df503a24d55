"""Keeps what PPO needs to go on: the adapter as PEFT saves it, and the rest as tensors and JSON."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerState

from markgraph.training.base import Base
from markgraph.training.extra import peft
from markgraph.training.trainer import save

ADAPTER, REST, STATE = "adapter_model.safetensors", "rest.safetensors", "trainer_state.json"
"""REST: the value head, the optimiser's moments, beta."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a training, in its folder."""

    folder: Path
    keep: int
    model: Any
    """Has a `policy`, which is an adapter, and a head `value`."""
    optimizer: Any
    base: Base

    def write(self, state: TrainerState, beta: float) -> None:
        """Write one, whole or not at all, and delete those that are too many."""
        place = self.folder / f"checkpoint-{state.global_step}"
        draft = place.with_suffix(".part")
        shutil.rmtree(draft, ignore_errors=True)  # left by a killed process
        save(self.model.policy, self.base, draft)
        rest = {f"value.{name}": each for name, each in self.model.value.state_dict().items()}
        rest["beta"] = torch.tensor(beta, dtype=torch.float64)
        for at, moments in self.optimizer.state_dict()["state"].items():
            rest |= {f"optimizer.{at}.{name}": each for name, each in moments.items()}
        save_file({name: each.contiguous() for name, each in rest.items()}, draft / REST)
        state.save_to_json(str(draft / STATE))
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
        made = sorted(self.folder.glob("checkpoint-*[0-9]"), key=lambda each: int(each.name[11:]))
        for old in made[: -self.keep]:
            shutil.rmtree(old)

    def read(self, place: Path, state: TrainerState) -> tuple[TrainerState, float]:
        """Let model and optimiser become what they were; return how far that was, and beta."""
        rest = load_file(place / REST)
        peft().set_peft_model_state_dict(self.model.policy, load_file(place / ADAPTER))
        self.model.value.load_state_dict({name: rest[f"value.{name}"] for name in ("weight", "bias")})
        moments: dict[int, dict[str, Tensor]] = {}
        for name, each in rest.items():
            if name.startswith("optimizer."):
                _, at, part = name.split(".")
                moments.setdefault(int(at), {})[part] = each
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        done = TrainerState.load_from_json(str(place / STATE))
        far = {"global_step": done.global_step, "epoch": done.epoch, "log_history": done.log_history}
        return replace(state, **far), float(rest["beta"])
