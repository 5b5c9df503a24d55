"""What a training method is: the rows it learns from, how it trains, and how its model is scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback

from markgraph.training.base import Base
from markgraph.training.rows import Kind, Row

Scores = dict[str, list[float]]
"""Metric to its value for each held-back row, in the rows' order; higher is better for every metric."""


class Each(Protocol):
    """Goes through held-back rows for a method, and may know some of their values already."""

    def __call__(
        self, score: Callable[[Sequence[Row]], Scores], rows: Sequence[Row], at_once: int = 1
    ) -> Scores:
        """Return the values of all rows; `score` is asked for those of so many of them at once."""


def every_row(score: Callable[[Sequence[Row]], Scores], rows: Sequence[Row], at_once: int = 1) -> Scores:
    """Ask for the values of all rows, and keep nothing: an `Each`."""
    found: Scores = {}
    for begin in range(0, len(rows), at_once):
        for metric, values in score(rows[begin : begin + at_once]).items():
            found.setdefault(metric, []).extend(values)
    return found


@dataclass(frozen=True)
class Job:
    """One training: all that a method needs to know beside its own settings."""

    base: Base
    """The model that it starts from."""
    rows: Sequence[Row]
    held: Sequence[Row]
    """Rows that are not learned from: the loss on them is followed."""
    folder: Path
    """Where it writes: `checkpoints/` and `model/`."""
    seed: int = 0
    max_steps: int | None = None
    """Stop after so many optimiser steps; None: as the method's epochs say."""
    callbacks: Sequence[TrainerCallback] = ()
    reporters: Sequence[str] = field(default=())
    """What transformers' own integrations report to, such as tensorboard."""


class Training(Protocol):
    """A training that can be run; a `transformers.Trainer` is one."""

    state: Any
    """A `transformers.TrainerState`: `log_history`, `global_step`, `max_steps`."""

    def train(self, resume_from_checkpoint: str | None = None) -> Any:
        """Train to the end, from a checkpoint's folder if there is one."""

    def save_model(self, output_dir: str) -> None:
        """Write what was trained: an adapter as PEFT saves it, or a whole model with its tokenizer."""


class OverBase:
    """Starts from the run's base."""

    def origin(self, base: Base) -> Base | None:
        """Return the model that it starts from; None: it starts from nothing."""
        return base


class Method(Protocol):
    """A way to train a model. Its fields are its settings."""

    name: str
    kind: Kind
    """The rows it learns from."""
    metric: str
    """The one of its scores that a candidate has to be better in."""

    def origin(self, base: Base) -> Base | None:
        """Return the model that it starts from: the run's base, one of its own, or None, from nothing."""

    def training(self, job: Job) -> Training:
        """Return the training of a job.

        Raises:
            ConfigError: a setting is no good.
            UsageError: this method can't train such a model.
        """

    def scores(
        self, base: Base, model: Path | None, rows: Sequence[Row], each: Each = every_row
    ) -> Mapping[str, list[float]]:
        """Return what a model reaches on held-back rows: the base as it is, or what was saved in `model`.

        Rows whose values do not depend on one another go through `each`.
        """
