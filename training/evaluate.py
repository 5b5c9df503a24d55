"""Scores the candidate, and what is in service, on the same held-back rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.runtime import Runtime

from markgraph.ingestion.interrupt import check_interrupted
from markgraph.models.registry import Registry
from markgraph.security.caller import Caller
from markgraph.security.effects import Effect, does
from markgraph.training.base import Base
from markgraph.training.pipeline import Stages, candidate_of, method_of, stage_folder
from markgraph.training.runs import Runs, means, read_rows, write_json
from markgraph.training.state import TrainState
from markgraph.training.tracking import Tracker, about

CHAMPION, CANDIDATE = "champion", "candidate"


@does(Effect.STORES)
@dataclass(frozen=True)
class Evaluate:
    """Writes scores/champion.json and scores/candidate.json: a value for each row, by metric."""

    stages: Stages
    base: Base
    runs: Runs
    registry: Registry
    name: str
    """What the model is registered as."""
    tracker: Tracker | None
    settings: Mapping[str, Any]

    def __call__(self, state: TrainState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the means."""
        run = self.runs.of(state["run"])
        last = self.stages[-1]
        rows = read_rows(stage_folder(run, last.name) / "rows" / "held.jsonl")
        method, found = method_of(last, run), {}
        models = {CHAMPION: self._in_service(), CANDIDATE: candidate_of(self.stages, self.base, run)}
        for who, (base, model) in models.items():
            runtime.stream_writer({"scoring": who, "rows": len(rows)})
            scores = {metric: list(values) for metric, values in method.scores(base, model, rows).items()}
            check_interrupted()
            write_json(run / "scores" / f"{who}.json", scores)
            found[who] = means(scores)
        with about(self.tracker, state, self.settings) as tracking:
            figures = {f"{who}/{metric}": value for who, each in found.items() for metric, value in each.items()}
            tracking.log(figures, 0)
            tracking.keep([run / "scores" / f"{who}.json" for who in found], "scores")
        return {"scores": found, "metric": method.metric}

    def _in_service(self) -> tuple[Base, Path | None]:
        """Return the champion, over the base that it was trained from; without one, the run's base is it."""
        if CHAMPION not in self.registry.aliases(self.name):
            return self.base, None
        origin = self.registry.get(self.name, CHAMPION).card.base
        model = self.registry.weights(self.name, CHAMPION)
        return (Base(origin.name, origin.source, origin.sha256) if origin else self.base), model
