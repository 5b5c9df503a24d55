"""Says what a run came to, whether it was carried out or not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markgraph.models.registry import Registry
from markgraph.models.registry_watch import forget
from markgraph.security.effects import does
from markgraph.training.pipeline import Stages, stage_folder
from markgraph.training.runs import Runs
from markgraph.training.state import TrainState
from markgraph.training.tracking import Tracker, about


@does()
@dataclass(frozen=True)
class Conclude:
    """Gives the tracker the files that tell of the run: plan, report of the data, scores and verdict."""

    stages: Stages
    runs: Runs
    registry: Registry
    tracker: Tracker | None
    settings: Mapping[str, Any]

    def __call__(self, state: TrainState) -> dict[str, Any]:
        """Return nothing new; the tracker hears nothing of a plan that was declined, and it can go on."""
        if not state["approved"]:
            return {}
        forget(self.registry.folder, state["run"])
        run = self.runs.of(state["run"])
        with about(self.tracker, state, self.settings) as tracking:
            tracking.keep([run / name for name in ("config.yaml", "plan.json", "verdict.json")], "")
            for stage in self.stages:
                tracking.keep([stage_folder(run, stage.name) / "report.json"], stage.name)
        return {}
