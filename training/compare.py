"""Puts the candidate against what is in service: the gate before a model is registered."""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from markgraph.errors import ConfigError
from markgraph.evaluation.comparison import Guards, check_guards, compare
from markgraph.security.effects import Effect, does
from markgraph.training.answers import GROUNDEDNESS, LATENCY, MEASURED, REFUSALS
from markgraph.training.port import Scores
from markgraph.training.runs import Runs, read_json, write_json
from markgraph.training.state import Trained, TrainState

ALLOWED: Mapping[str, float | str] = {GROUNDEDNESS: 0.15, REFUSALS: 0.15, LATENCY: "50%"}
"""How much worse answers may be, unless somebody says otherwise."""


@does(Effect.STORES)
@dataclass(frozen=True)
class Compare:
    """Writes verdict.json: accepted, if better for certain in the metric, and no worse in what is guarded."""

    runs: Runs
    seed: int
    answers: Mapping[str, float | str | None] | None = field(default_factory=lambda: dict(ALLOWED))
    """By what answers are measured by, how much the candidate may be worse; it counts where there are any."""
    guards: Guards | None = None
    """The same by any metric, which then has to be there."""

    def __post_init__(self) -> None:
        if unknown := [name for name in self.answers or {} if name not in MEASURED]:
            raise ConfigError(
                f"graph.compare.answers has {', '.join(unknown)}. Allowed: {', '.join(MEASURED)}. "
                "Other metrics belong into graph.compare.guards."
            )
        try:
            check_guards(self._guards(MEASURED))
        except ValueError as error:
            raise ConfigError(f"graph.compare: {error}") from error

    def __call__(self, state: TrainState) -> dict[str, Any]:
        """Return the verdict."""
        run = self.runs.of(state["run"])
        champion, candidate = (scores_in(run / "scores" / f"{who}.json") for who in ("champion", "candidate"))
        guards = self._guards({*champion, *candidate})
        verdict = asdict(compare(champion, candidate, state["metric"], guards, self.seed, what="rows"))
        verdict["reasons"] = [*diverged(state["trained"]), *verdict["reasons"]]
        verdict["accepted"] = not verdict["reasons"]
        write_json(run / "verdict.json", verdict)
        return {"verdict": verdict}

    def _guards(self, scored: Collection[str]) -> Guards:
        """Return all guards, of answers those that were measured."""
        answers = {name: allowed for name, allowed in (self.answers or {}).items() if name in scored}
        return {name: value for name, value in answers.items() if value is not None} | dict(self.guards or {})


def scores_in(place: Path) -> Scores:
    """Return the scores in a file; what is null there is no finite number."""
    return {
        metric: [math.nan if value is None else value for value in values]
        for metric, values in read_json(place).items()
    }


def diverged(trained: Mapping[str, Trained]) -> list[str]:
    """Return a reason for each stage whose last loss is no finite number: its weights are none either."""
    return [
        f"{stage}: its training has diverged, the last loss is no finite number; begin another run with a "
        "lower method.learning_rate, and look at its rows"
        for stage, each in trained.items()
        if each.get("diverged")
    ]
