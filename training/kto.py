"""Kahneman-Tversky optimisation (Ethayarajh et al. 2024), on TRL's KTOTrainer: thumbs up and down alone.

With r = log π(y|x) - log π_ref(y|x) and z₀, the KL to the reference, a liked answer costs 1 - σ(β(r - z₀))
and a disliked one 1 - σ(β(z₀ - r)). z₀ is estimated from answers to other prompts of the batch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from markgraph.errors import ConfigError
from markgraph.training.allowed import at_least, more_than
from markgraph.training.base import Base
from markgraph.training.extra import dataset, trl
from markgraph.training.pairs import Ready
from markgraph.training.port import Each, Job, Scores, Training, every_row
from markgraph.training.render import tokens
from markgraph.training.rows import Kind, Row
from markgraph.training.scoring import Policy
from markgraph.training.settings import Settings, arguments
from markgraph.training.trainer import start, trainer


@dataclass(frozen=True, kw_only=True)
class Kto(Settings):
    """Learns what people liked and what they did not."""

    name: str = "kto"
    kind: Kind = "rated"
    metric: str = "separation"
    beta: float = 0.1
    """How dear it is to leave the reference."""
    desirable_weight: float = 1.0
    """What liked answers count; the paper keeps weight times number of both kinds within 1 to 4/3."""
    undesirable_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        more_than(self, 0, "beta")
        at_least(self, 0, "desirable_weight", "undesirable_weight")
        if self.batch_size < 2 or self.group_by_length:
            raise ConfigError(
                f"Got method.batch_size={self.batch_size}, method.group_by_length={self.group_by_length}. "
                "Allowed: 2 or more, and false. KTO sets answers beside other prompts of the same batch."
            )

    def training(self, job: Job) -> Training:
        """Return TRL's trainer, over rows that are ids already."""
        package = trl()
        settings = package.KTOConfig(
            # Batches stay as `learned` made them, each with its own mismatched answers.
            **(dict(arguments(self, job)) | {"train_sampling_strategy": "sequential"}),
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
            max_length=None,
        )
        made: Training = trainer(
            package.KTOTrainer,
            job,
            Ready,
            model=start(self, job.base),
            ref_model=None if self.lora else job.base.causal(),
            args=settings,
            train_dataset=self.learned(job.base, shuffled(job.rows, job.seed)),
            eval_dataset=self.learned(job.base, job.held) if job.held else None,
            lora=self.lora,
        )
        return made

    def learned(self, base: Base, rows: Sequence[Row]) -> Any:
        """Return rows as KTOTrainer's collator takes them: each with the answer to another prompt."""
        made = [tokens(base, row, row["completion"], self.max_tokens) for row in rows]
        others = [each.completion for each in made]
        starts = range(0, len(made), self.batch_size)
        rotated = [other for at in starts for other in _rotated(others[at : at + self.batch_size])]
        return dataset(
            [
                {
                    "prompt_ids": one.prompt,
                    "completion_ids": one.completion,
                    "KL_completion_ids": other,
                    "label": row["good"],
                }
                for row, one, other in zip(rows, made, rotated, strict=True)
            ]
        )

    def scores(self, base: Base, model: Path | None, rows: Sequence[Row], each: Each = every_row) -> Scores:
        """Return how far apart liked and disliked answers are, and nearness, minus the KL to the reference.

        The mean of `separation` over the rows of either kind is half the distance of their mean rewards.
        """
        policy = Policy.of(base, model)

        def score(some: Sequence[Row]) -> Scores:
            found = [policy.drift(tokens(base, row, row["completion"])) for row in some]
            return {
                "reward": [self.beta * one.logratio for one in found],
                "nearness": [-one.kl for one in found],
            }

        found = each(score, rows)
        return {
            "separation": separated(found["reward"], [row["good"] for row in rows]),
            "nearness": found["nearness"],
        }


def separated(rewards: Sequence[float], good: Sequence[bool]) -> list[float]:
    """Return how far each reward is on its own side of the middle between the two kinds."""
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for reward, liked in zip(rewards, good, strict=True):
        kinds[liked].append(reward)
    middle = fmean(fmean(kind) for kind in kinds.values()) if all(kinds.values()) else 0.0
    return [
        reward - middle if liked else middle - reward for reward, liked in zip(rewards, good, strict=True)
    ]


def shuffled(rows: Sequence[Row], seed: int) -> list[Row]:
    """Return the rows in the one order that this seed gives."""
    return random.Random(seed).sample(list(rows), len(rows))  # noqa: S311 -- an order, not a secret


def _rotated(answers: list[list[int]]) -> list[list[int]]:
    return answers[-1:] + answers[:-1]
