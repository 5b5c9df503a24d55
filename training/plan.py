"""Says what a training would take, from a few real steps of it; nothing of them is kept."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.runtime import Runtime

from markgraph.errors import ConfigError
from markgraph.security.caller import Caller
from markgraph.security.effects import Effect, does
from markgraph.training import state as channels
from markgraph.training.begin import hash_of
from markgraph.training.extra import quiet
from markgraph.training.join import PARTS, Together, Workshop
from markgraph.training.memory import within_memory
from markgraph.training.pipeline import Stage, base_of, method_of, origin_of, stage_folder
from markgraph.training.port import Training
from markgraph.training.probe import Steps, measuring_memory
from markgraph.training.render import tokens_of
from markgraph.training.runs import write_json


@does(Effect.STORES)
@dataclass(frozen=True)
class Plan:
    """Estimates rows, tokens, steps, time and memory, and writes plan.json."""

    workshop: Workshop
    settings: Mapping[str, Any]
    steps: int = 2
    """Steps of each stage that are tried; the first, which warms up, does not count for the time."""

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ConfigError(f"graph.plan.steps is {self.steps}. Allowed: a whole number from 2.")

    def __call__(self, state: channels.TrainState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the plan."""
        stages, base, run = self.workshop.stages, self.workshop.base, self.workshop.runs.of(state["run"])
        with _scratch(run / "probe") as scratch, quiet():
            plans = []
            for stage in stages:
                runtime.stream_writer({"stage": stage.name, "planning": True})
                plans.append(self._of_stage(stage, run, scratch))
        plan: channels.Plan = {
            "config_hash": hash_of(self.settings),
            "base": origin.name if (origin := origin_of(stages, base)) else "from nothing",
            "stages": plans,
            "seconds": sum(each["seconds"] for each in plans),
            "peak_bytes": max(each["peak_bytes"] for each in plans),
            "peak_gpu_bytes": max(each["peak_gpu_bytes"] for each in plans),
        }
        write_json(run / "plan.json", plan)
        return {"plan": plan}

    def _of_stage(self, stage: Stage, run: Path, scratch: Path) -> channels.StagePlan:
        base = base_of(stage, self.workshop.stages, self.workshop.base, scratch)
        method, runs, folder = method_of(stage, scratch), self.workshop.runs, stage_folder(run, stage.name)
        rows, held = (runs.rows(folder / "rows" / f"{part}.jsonl") for part in PARTS)
        with measuring_memory() as peak, within_memory(stage.name, method):
            # What the longest rows take is known before anything is trained.
            self._try(stage, run, scratch, 1, longest=True)
            training, probe = self._try(stage, run, scratch, self.steps)
        if any(stage.name in (each.base, *each.models.values()) for each in self.workshop.stages):
            training.save_model(str(stage_folder(scratch, stage.name) / "model"))
        timed = probe.seconds[1:] or probe.seconds
        per_step = sum(timed) / len(timed)
        return {
            "stage": stage.name,
            "method": method.name,
            "rows": len(rows),
            "held": len(held),
            "tokens": sum(tokens_of(base, row) for row in rows),
            "steps": probe.total,
            "seconds_per_step": per_step,
            "seconds": per_step * probe.total,
            "peak_bytes": peak.bytes,
            "peak_gpu_bytes": peak.gpu_bytes,
        }

    def _try(
        self, stage: Stage, run: Path, scratch: Path, steps: int, *, longest: bool = False
    ) -> tuple[Training, Steps]:
        probe, told = Steps(steps), Together(stage.name, str(run), str(scratch), steps=steps, longest=longest)
        training = self.workshop.together(told, probe)
        training.train()
        return training, probe


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Give a folder that is gone afterwards, and was emptied of what a killed run left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
