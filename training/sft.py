"""Supervised fine-tuning: the model learns to say the completion of each row, on TRL's SFTTrainer.

The loss is the mean negative log-likelihood of the completions' tokens; prompts are read and not learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markgraph.training.base import Base
from markgraph.training.extra import dataset, trl
from markgraph.training.port import Each, Job, Scores, Training, every_row
from markgraph.training.render import tokens
from markgraph.training.rows import Kind, Row
from markgraph.training.scoring import load, said
from markgraph.training.settings import Settings, arguments
from markgraph.training.trainer import start, trainer


@dataclass(frozen=True, kw_only=True)
class Sft(Settings):
    """Learns what to say: an adapter, or with `lora=null` all weights."""

    name: str = "sft"
    kind: Kind = "chat"
    metric: str = "completion_logp"

    def training(self, job: Job) -> Training:
        """Return TRL's trainer, over rows that are ids already."""
        package = trl()
        settings = package.SFTConfig(**arguments(self, job), max_length=None, pad_to_multiple_of=None)
        made: Training = trainer(
            package.SFTTrainer,
            job,
            model=start(self, job.base),
            args=settings,
            train_dataset=learned(job.base, job.rows, self.max_tokens),
            eval_dataset=learned(job.base, job.held, self.max_tokens) if job.held else None,
            lora=self.lora,
        )
        return made

    def scores(self, base: Base, model: Path | None, rows: Sequence[Row], each: Each = every_row) -> Scores:
        """Return each completion's mean log p of a token, and the part of its tokens that are likeliest."""
        causal = load(base, model)

        def score(some: Sequence[Row]) -> Scores:
            found = [said(causal, tokens(base, row, row["completion"])) for row in some]
            return {
                "completion_logp": [float(one.logps.mean()) for one in found],
                "token_accuracy": [float(one.best.float().mean()) for one in found],
            }

        return each(score, rows)


def learned(base: Base, rows: Sequence[Row], limit: int | None) -> Any:
    """Return rows as SFTTrainer takes them: ids, labels, and their number for grouping."""
    made = [tokens(base, row, row["completion"], limit) for row in rows]
    return dataset([{"input_ids": one.ids, "labels": one.labels, "length": len(one.ids)} for one in made])
