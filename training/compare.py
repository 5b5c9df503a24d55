"""Puts the candidate against what is in service: the gate before a model is registered."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from markgraph.evaluation.comparison import compare
from markgraph.security.effects import Effect, does
from markgraph.training.runs import Runs, read_json, write_json
from markgraph.training.state import TrainState


@does(Effect.STORES)
@dataclass(frozen=True)
class Compare:
    """Writes verdict.json: accepted, if better for certain in the metric, and not worse in what is guarded."""

    runs: Runs
    seed: int
    guards: Mapping[str, float] | None = None
    """By metric, how much the candidate may be worse."""

    def __call__(self, state: TrainState) -> dict[str, Any]:
        """Return the verdict."""
        run = self.runs.of(state["run"])
        champion, candidate = (read_json(run / "scores" / f"{who}.json") for who in ("champion", "candidate"))
        verdict = asdict(compare(champion, candidate, state["metric"], self.guards or {}, self.seed))
        verdict["reasons"] = list(verdict["reasons"])
        write_json(run / "verdict.json", verdict)
        return {"verdict": verdict}
