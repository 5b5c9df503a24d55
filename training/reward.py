"""A reward model (Bradley and Terry 1952; Ouyang et al. 2022), on TRL's RewardTrainer.

It gives each answer a score r; the loss is -log σ(r(chosen) - r(rejected)).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from markgraph.errors import ConfigError
from markgraph.training.allowed import at_least
from markgraph.training.base import Base
from markgraph.training.classifier import reward_model
from markgraph.training.extra import dataset, trl
from markgraph.training.pairs import pair_scores, pairs
from markgraph.training.port import Each, Job, Scores, Training, every_row
from markgraph.training.render import Tokens
from markgraph.training.rows import Kind, Row
from markgraph.training.settings import Settings, arguments
from markgraph.training.trainer import trainer


@dataclass(frozen=True, kw_only=True)
class Reward(Settings):
    """Learns to score answers, for PPO and GRPO to raise."""

    name: str = "reward"
    kind: Kind = "pair"
    metric: str = "pair_accuracy"
    center: float | None = 0.01
    """What the square of the rewards' sum costs, which keeps them around zero (Eisenstein et al. 2023)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "center")
        if self.quantization is not None:
            raise ConfigError(f"A reward model got method.quantization={self.quantization!r}. Allowed: null.")

    def training(self, job: Job) -> Training:
        """Return TRL's trainer, over rows that are ids already."""
        package = trl()
        settings = package.RewardConfig(
            **arguments(self, job), center_rewards_coefficient=self.center, max_length=None
        )
        made: Training = trainer(
            package.RewardTrainer,
            job,
            model=reward_model(job.base, seed=job.seed),
            args=settings,
            train_dataset=learned(job.base, job.rows, self.max_tokens),
            eval_dataset=learned(job.base, job.held, self.max_tokens) if job.held else None,
            lora=self.lora,
            task="SEQ_CLS",
        )
        return made

    def scores(self, base: Base, model: Path | None, rows: Sequence[Row], each: Each = every_row) -> Scores:
        """Return whether and by how much the chosen answer is ahead; a base without a score is at chance."""
        if model is None:
            return pair_scores([0.0] * len(rows))
        scored = reward_model(base, model)
        scored.to("cuda" if torch.cuda.is_available() else "cpu")

        def score(some: Sequence[Row]) -> Scores:
            made = pairs(base, some)
            return pair_scores(
                [rewarded(scored, one.chosen) - rewarded(scored, one.rejected) for one in made]
            )

        return each(score, rows)


@torch.no_grad()
def rewarded(model: Any, tokens: Tokens) -> float:
    """Return the score of an answer behind its prompt."""
    ids = torch.tensor([tokens.ids], device=model.device)
    return float(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 0])


def learned(base: Base, rows: Sequence[Row], limit: int | None) -> Any:
    """Return rows as RewardTrainer takes them, and their length for grouping."""
    made = [(pair.chosen.ids, pair.rejected.ids) for pair in pairs(base, rows, limit)]
    return dataset(
        [
            {"chosen_ids": chosen, "rejected_ids": rejected, "length": max(len(chosen), len(rejected))}
            for chosen, rejected in made
        ]
    )
