"""The settings that all methods on a `transformers.Trainer` have, and the arguments they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from markgraph.errors import ConfigError
from markgraph.training.allowed import at_least, check, more_than
from markgraph.training.lora import Lora
from markgraph.training.port import Job, OverBase

PRECISIONS = ("auto", "float32", "bfloat16")
MEASURED = 4
"""Held-back rows at once, at most: their logits are kept in float32, and nobody waits for them."""
SCHEDULES = ("cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt")


@dataclass(frozen=True, kw_only=True)
class Settings(OverBase):
    """How to go through the rows: the fields of a method beside its own."""

    lora: Lora | None = None
    """The adapter that is trained; None trains all weights."""
    quantization: str | None = None
    """`nf4` keeps the base in 4 bits under the adapter: QLoRA, on NVIDIA GPUs."""
    epochs: float = 3.0
    batch_size: int = 8
    """Rows of a step on each device."""
    accumulation: int = 1
    """Batches whose gradients make one step."""
    learning_rate: float = 2e-4
    schedule: str = "cosine"
    warmup: float = 0.03
    """The part of the steps during which the learning rate rises."""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    max_tokens: int | None = None
    """The longest row, prompt and answer; None: as long as the model's window."""
    precision: str = "auto"
    """`bfloat16` multiplies in 16 bits and keeps the weights in 32; `auto` does so on GPUs that have it.

    On a processor with AVX-512 BF16 it is a fifth faster than `float32`, and on others much slower.
    """
    gradient_checkpointing: bool = False
    """Compute activations again instead of keeping them: less memory, about a third more time."""
    group_by_length: bool = False
    """Put rows of like length into one batch."""
    log_steps: int = 1
    eval_steps: int | None = None
    """Steps between two losses on the held-back rows; None: once an epoch."""
    save_steps: int = 50
    """Steps between two checkpoints: what a kill can lose."""
    keep: int = 2
    """The number of checkpoints that are kept."""

    def __post_init__(self) -> None:
        check("method.precision", self.precision, self.precision in PRECISIONS, ", ".join(PRECISIONS))
        check("method.schedule", self.schedule, self.schedule in SCHEDULES, ", ".join(SCHEDULES))
        check("method.quantization", self.quantization, self.quantization in (None, "nf4"), "nf4, or null")
        if self.quantization is not None and self.lora is None:
            raise ConfigError(
                f"method.quantization is {self.quantization!r} with method.lora=null. Allowed: a quantised "
                "base with an adapter over it. Choose method.lora, or leave out method.quantization."
            )
        at_least(self, 1, "batch_size", "accumulation", "log_steps", "save_steps", "keep")
        at_least(self, 1, "eval_steps", "max_tokens")
        more_than(self, 0, "epochs", "learning_rate", "max_grad_norm")
        at_least(self, 0, "weight_decay")
        check("method.warmup", self.warmup, 0 <= self.warmup < 1, "from 0, and below 1")

    @property
    def bf16(self) -> bool:
        """Tell whether products are computed in bfloat16."""
        if self.precision != "auto":
            return self.precision == "bfloat16"
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def arguments(settings: Settings, job: Job) -> Mapping[str, Any]:
    """Return the `transformers.TrainingArguments` of a job."""
    steps = settings.eval_steps
    followed = ("steps" if steps else "epoch") if job.held else "no"
    return {
        "output_dir": str(job.folder / "checkpoints"),
        "seed": job.seed,
        "num_train_epochs": settings.epochs,
        "max_steps": -1 if job.max_steps is None else job.max_steps,
        "per_device_train_batch_size": settings.batch_size,
        "per_device_eval_batch_size": min(settings.batch_size, MEASURED),
        "gradient_accumulation_steps": settings.accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": settings.warmup,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": settings.bf16,
        "use_cpu": not torch.cuda.is_available(),
        "activation_checkpointing": settings.gradient_checkpointing,
        "train_sampling_strategy": "group_by_length" if settings.group_by_length else "random",
        "logging_steps": settings.log_steps,
        "logging_nan_inf_filter": False,
        "eval_strategy": followed,
        "eval_steps": steps,
        "save_steps": settings.save_steps,
        "save_total_limit": settings.keep,
        "report_to": list(job.reporters) or "none",
        # The graph shows progress itself, to people and to programs.
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
