"""Pairs of answers, better and worse, as the trainers take them and as the methods are scored."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from markgraph.training.base import Base
from markgraph.training.port import Scores
from markgraph.training.render import Tokens, tokens
from markgraph.training.rows import Row

CHANCE = 0.5
"""What no preference at all reaches: neither right nor wrong."""


class Pair(NamedTuple):
    """Two answers to one prompt."""

    chosen: Tokens
    rejected: Tokens


class Ready:
    """The part of a trainer that takes rows as they are: ids made by the renderer, not by TRL."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def pairs(base: Base, rows: Sequence[Row], limit: int | None = None) -> list[Pair]:
    """Return each row's two answers behind its prompt.

    Raises:
        UsageError: one is longer than `limit`, or than the model takes.
    """
    return [
        Pair(tokens(base, row, row["chosen"], limit), tokens(base, row, row["rejected"], limit))
        for row in rows
    ]


def pair_scores(margins: Sequence[float], **others: list[float]) -> Scores:
    """Return by how much the better answer of each row is ahead, and whether it is; a tie is chance.

    Nobody can tell by a margin that is no finite number.
    """
    return {"pair_accuracy": [_ahead(margin) for margin in margins], "pair_margin": list(margins), **others}


def _ahead(margin: float) -> float:
    if not math.isfinite(margin):
        return math.nan
    return CHANCE if margin == 0 else float(margin > 0)


def columns(pair: Pair) -> dict[str, Any]:
    """Return a pair as DPOTrainer's collator takes it."""
    return {
        "prompt_ids": pair.chosen.prompt,
        "chosen_ids": pair.chosen.completion,
        "rejected_ids": pair.rejected.completion,
    }
