"""Direct preference optimisation (Rafailov et al. 2023), on TRL's DPOTrainer.

The reward of an answer y to x is β · (log π(y|x) - log π_ref(y|x)); the loss is -log σ of what the chosen
answer's reward is above the rejected one's. The reference is the base: with the adapter off, or a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markgraph.training.allowed import check, more_than
from markgraph.training.base import Base
from markgraph.training.extra import dataset, trl
from markgraph.training.pairs import Ready, columns, pair_scores, pairs
from markgraph.training.port import Each, Job, Scores, Training, every_row
from markgraph.training.rows import Kind, Row
from markgraph.training.scoring import Policy
from markgraph.training.settings import Settings, arguments
from markgraph.training.trainer import start, trainer


@dataclass(frozen=True, kw_only=True)
class Dpo(Settings):
    """Learns which of two answers is better."""

    name: str = "dpo"
    kind: Kind = "pair"
    metric: str = "pair_accuracy"
    beta: float = 0.1
    """How dear it is to leave the reference."""
    label_smoothing: float = 0.0
    """How many pairs are thought to be the wrong way round."""

    def __post_init__(self) -> None:
        super().__post_init__()
        more_than(self, 0, "beta")
        swapped = self.label_smoothing
        check("method.label_smoothing", swapped, 0 <= swapped < 0.5, "from 0, and below 0.5")

    def training(self, job: Job) -> Training:
        """Return TRL's trainer, over rows that are ids already."""
        package = trl()
        settings = package.DPOConfig(
            **arguments(self, job), beta=self.beta, label_smoothing=self.label_smoothing, max_length=None
        )
        made: Training = trainer(
            package.DPOTrainer,
            job,
            Ready,
            model=start(self, job.base),
            ref_model=None if self.lora else job.base.causal(),
            args=settings,
            train_dataset=learned(job.base, job.rows, self.max_tokens),
            eval_dataset=learned(job.base, job.held, self.max_tokens) if job.held else None,
            lora=self.lora,
        )
        return made

    def scores(self, base: Base, model: Path | None, rows: Sequence[Row], each: Each = every_row) -> Scores:
        """Return whether and by how much the chosen answer is ahead, and nearness, minus the KL to it."""
        policy = Policy.of(base, model)

        def score(some: Sequence[Row]) -> Scores:
            found = [(policy.drift(pair.chosen), policy.drift(pair.rejected)) for pair in pairs(base, some)]
            margins = [self.beta * (chosen.logratio - rejected.logratio) for chosen, rejected in found]
            nearness = [-(chosen.kl + rejected.kl) / 2 for chosen, rejected in found]
            return pair_scores(margins, nearness=nearness)

        return each(score, rows)


def learned(base: Base, rows: Sequence[Row], limit: int | None) -> Any:
    """Return rows as DPOTrainer's collator takes them, and their length for grouping."""
    made = pairs(base, rows, limit)
    return dataset(
        [columns(pair) | {"length": max(len(pair.chosen.ids), len(pair.rejected.ids))} for pair in made]
    )
