"""Knowledge distillation (Hinton et al. 2015): a student learns what a teacher says, and what it nearly said.

The loss is α T² KL(teacher || student), both softened by the temperature T, plus (1 - α) times the negative
log-likelihood of the completion, per token of it.

Does NOT include: learning on the student's own answers, as TRL's DistillationTrainer does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from markgraph.errors import ConfigError
from markgraph.training.allowed import a_part, more_than
from markgraph.training.base import Base
from markgraph.training.extra import trl
from markgraph.training.port import Each, Job, Scores, Training, every_row
from markgraph.training.render import IGNORED, tokens
from markgraph.training.rows import Kind, Row
from markgraph.training.scoring import divergence, load, logits
from markgraph.training.settings import Settings, arguments
from markgraph.training.sft import learned
from markgraph.training.trainer import start, trainer


@dataclass(frozen=True, kw_only=True)
class Distill(Settings):
    """Learns a larger model's distribution, on the same tokens."""

    name: str = "distill"
    kind: Kind = "chat"
    metric: str = "nearness"
    teacher: str
    """Reference to the teacher's weights."""
    teacher_sha256: str | None = None
    temperature: float = 2.0
    alpha: float = 0.9
    """What the teacher counts, against the completion as it is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        more_than(self, 0, "temperature")
        a_part(self, "alpha")

    @property
    def taught_by(self) -> Base:
        """The teacher."""
        return Base("teacher", self.teacher, self.teacher_sha256)

    def training(self, job: Job) -> Training:
        """Return a trainer with a teacher."""
        package = trl()
        same_vocabulary(job.base, self.taught_by)
        made = trainer(
            package.SFTTrainer,
            job,
            Taught,
            model=start(self, job.base),
            args=package.SFTConfig(**arguments(self, job), max_length=None, pad_to_multiple_of=None),
            train_dataset=learned(job.base, job.rows, self.max_tokens),
            eval_dataset=learned(job.base, job.held, self.max_tokens) if job.held else None,
            lora=self.lora,
        )
        made.method = self
        training: Training = made
        return training

    def scores(self, base: Base, model: Path | None, rows: Sequence[Row], each: Each = every_row) -> Scores:
        """Return nearness, which is -KL(teacher || student), and the mean log p of a completion's tokens."""
        student, teacher = load(base, model), load(self.taught_by, None)

        def score(some: Sequence[Row]) -> Scores:
            found: Scores = {"nearness": [], "completion_logp": []}
            for row in some:
                asked = tokens(base, row, row["completion"])
                own, told = (logits(one, asked).log_softmax(-1) for one in (student, teacher))  # (t, v)
                said = torch.tensor(asked.completion, device=own.device)[:, None]  # (t, 1)
                found["nearness"].append(-float(divergence(*shared(told, own)).mean()))
                found["completion_logp"].append(float(own.gather(1, said).mean()))
            return found

        return each(score, rows)


class Taught:
    """The part of SFTTrainer that this method replaces: its loss."""

    method: Distill
    model: Any
    args: Any
    accelerator: Any
    _metrics: Any

    @cached_property
    def teacher(self) -> Any:
        """The teacher, in the student's place on the student's device, never trained."""
        return self.method.taught_by.causal().to(self.accelerator.device).requires_grad_(False)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a batch, summed and divided by the step's number of completion tokens."""
        given = {key: inputs[key] for key in ("input_ids", "attention_mask")}
        learns = inputs["labels"][:, 1:] != IGNORED  # (b, l - 1)
        outputs = model(**given, use_cache=False)
        with torch.no_grad():
            told = self.teacher(**given, use_cache=False).logits[:, :-1][learns]  # (t, v)
        own = outputs.logits[:, :-1][learns]  # (t, v)
        kl, nll = distillation(own, told, inputs["labels"][:, 1:][learns], self.method.temperature)
        a = self.method.alpha
        count = len(kl) if num_items_in_batch is None else num_items_in_batch
        loss = (a * kl + (1 - a) * nll).sum() / count
        # The count is of all processes, and their gradients are averaged.
        loss = loss if num_items_in_batch is None else loss * self.accelerator.num_processes
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["kl"].append(float(kl.detach().mean()))
        return (loss, outputs) if return_outputs else loss


def distillation(student: Tensor, teacher: Tensor, told: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return T² KL(teacher || student) at temperature T, and -log p of what was told, each (t,).

    Args:
        student: logits, (t, v) with v ids in the vocabulary.
        teacher: logits, (t, v); the longer of two vocabularies is padding behind the other.
        told: ids, (t,).
        temperature: T; the factor T² keeps the gradients' size.
    """
    own, others = shared(student.float(), teacher.float())
    soft = [(each / temperature).log_softmax(-1) for each in (others, own)]
    nll = -student.float().log_softmax(-1).gather(1, told[:, None])[:, 0]
    return divergence(soft[0], soft[1]) * temperature**2, nll


def shared(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return both (t, v), of the vocabulary that they share."""
    size = min(one.shape[-1], other.shape[-1])
    return one[..., :size], other[..., :size]


def same_vocabulary(student: Base, teacher: Base) -> None:
    """Refuse a teacher whose ids mean other tokens.

    Raises:
        ConfigError: it is one.
    """
    own, others = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if own != others:
        odd = sorted(set(own.items()) ^ set(others.items()))[0][0]
        raise ConfigError(
            f"The teacher {teacher.source} has other tokens than {student.name}: {odd!r} for one. "
            "Allowed: a teacher with the student's tokenizer."
        )
