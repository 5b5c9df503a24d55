"""Trains a stage, from the last checkpoint if there is one."""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from langgraph.runtime import Runtime

from markgraph.ingestion.interrupt import check_interrupted
from markgraph.security.caller import Caller
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Resource
from markgraph.training.extra import quiet
from markgraph.training.follow import Follow
from markgraph.training.join import Together, Workshop
from markgraph.training.memory import within_memory
from markgraph.training.pipeline import Stage, stage_folder
from markgraph.training.plots import draw_log
from markgraph.training.runs import alone, read_json, write_json
from markgraph.training.state import TrainState
from markgraph.training.stopping import stopped_when_cancelled
from markgraph.training.tracking import Tracker, about


@does(Effect.SIDE_EFFECTS, Effect.STORES)
@dataclass(frozen=True)
class Train:
    """Does what the plan says of one stage; `model/` in its folder is what was trained."""

    stage: Stage
    workshop: Workshop
    tracker: Tracker | None
    settings: Mapping[str, Any]

    def needs(self, state: TrainState) -> list[Need]:  # noqa: ARG002
        """Return the permission to train models."""
        return [Need("models:train", Resource("model"))]

    def __call__(self, state: TrainState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return what became of the stage.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed; what was trained until then is in a checkpoint.
        """
        run = self.workshop.runs.of(state["run"])
        folder = stage_folder(run, self.stage.name)
        with alone(run), about(self.tracker, state, self.settings) as tracking, quiet():
            follow = Follow(self.stage.name, folder / "log.jsonl", runtime.stream_writer, tracking)
            ended = folder / "trained.json"
            if ended.exists():  # but the tracker could not be told
                follow.tell_again()
            else:
                write_json(ended, self._trained(run, folder, follow))
            drawn = draw_log(folder / "log.jsonl", folder / "plots")
            tracking.keep([folder / "log.jsonl", *drawn], self.stage.name)
        return {"trained": {self.stage.name: read_json(ended)}}

    async def acall(self, state: TrainState, runtime: Runtime[Caller]) -> Mapping[str, Any]:
        """Do the same in a thread; when the run is cancelled, behind a checkpoint of the step under way."""
        return await stopped_when_cancelled(self, state, runtime)

    def _trained(self, run: Path, folder: Path, follow: Follow) -> dict[str, Any]:
        """Train to the end, leave the model in the folder, and return what became of it."""
        resume = last_checkpoint(folder / "checkpoints")
        told = Together(self.stage.name, str(run), str(run), resume=resume)
        with within_memory(self.stage.name, self.stage.method):
            training, began = self.workshop.together(told, follow), perf_counter()
            training.train(resume_from_checkpoint=resume)
        seconds = perf_counter() - began
        check_interrupted()
        training.save_model(str(folder / "model"))
        losses = [each["loss"] for each in training.state.log_history if "loss" in each]
        return {
            "steps": training.state.global_step,
            "loss": losses[-1] if losses else None,
            "diverged": bool(losses) and not math.isfinite(losses[-1]),
            "seconds": seconds,
        }


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint, and remove what a kill left half written behind it."""
    found = {int(each.name.rpartition("-")[2]): each for each in folder.glob("checkpoint-*")}
    for _, each in sorted(found.items(), reverse=True):
        if _is_whole(each):
            return str(each)
        shutil.rmtree(each)
    return None


def _is_whole(checkpoint: Path) -> bool:
    """Tell whether all of a checkpoint was written: trainers write their state last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return True
