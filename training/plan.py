"""Says what a training would take, from a few real steps of it; nothing of them is kept."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.runtime import Runtime
from transformers import set_seed

from markgraph.errors import ConfigError
from markgraph.security.caller import Caller
from markgraph.security.effects import Effect, does
from markgraph.training import state as channels
from markgraph.training.base import Base
from markgraph.training.begin import hash_of
from markgraph.training.extra import quiet
from markgraph.training.join import Together, together
from markgraph.training.pipeline import Stage, Stages, base_of, method_of, origin_of, stage_folder
from markgraph.training.port import Job
from markgraph.training.probe import Steps, measuring_memory
from markgraph.training.render import prompt_ids
from markgraph.training.rows import Row
from markgraph.training.runs import Runs, write_json

TEXTS = ("completion", "chosen", "rejected", "text", "query", "positive", "premise", "hypothesis")
"""Columns of text, beside the prompt's messages."""


@does(Effect.STORES)
@dataclass(frozen=True)
class Plan:
    """Estimates rows, tokens, steps, time and memory, and writes plan.json."""

    runs: Runs
    stages: Stages
    base: Base
    settings: Mapping[str, Any]
    seed: int
    steps: int = 2
    """Steps of each stage that are tried; the first, which warms up, does not count for the time."""

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ConfigError(f"graph.plan.steps is {self.steps}. Allowed: a whole number from 2.")

    def __call__(self, state: channels.TrainState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the plan."""
        run = self.runs.of(state["run"])
        with _scratch(run / "probe") as scratch, quiet():
            stages = []
            for stage in self.stages:
                runtime.stream_writer({"stage": stage.name, "planning": True})
                stages.append(self._of_stage(stage, run, scratch))
        plan: channels.Plan = {
            "config_hash": hash_of(self.settings),
            "base": origin.name if (origin := origin_of(self.stages, self.base)) else "from nothing",
            "stages": stages,
            "seconds": sum(each["seconds"] for each in stages),
            "peak_bytes": max(each["peak_bytes"] for each in stages),
            "peak_gpu_bytes": max(each["peak_gpu_bytes"] for each in stages),
        }
        write_json(run / "plan.json", plan)
        return {"plan": plan}

    def _of_stage(self, stage: Stage, run: Path, scratch: Path) -> channels.StagePlan:
        rows = self.runs.rows(stage_folder(run, stage.name) / "rows" / "train.jsonl")
        held = self.runs.rows(stage_folder(run, stage.name) / "rows" / "held.jsonl")
        # The models of earlier stages are those that their own first steps have made.
        base, method = base_of(stage, self.stages, self.base, scratch), method_of(stage, scratch)
        folder, probe = stage_folder(scratch, stage.name), Steps(self.steps)
        set_seed(self.seed)
        with measuring_memory() as peak:
            # Without held-back rows: their loss is no part of a step.
            job = Job(base, rows, (), folder, self.seed, callbacks=[probe])
            shared = Together(stage.name, str(run), str(scratch), steps=self.steps)
            training = together(lambda: method.training(job), shared)
            training.train()
        if any(stage.name in (each.base, *each.models.values()) for each in self.stages):
            training.save_model(str(folder / "model"))
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


def tokens_of(base: Base, row: Row) -> int:
    """Return how many tokens a row has: its prompt as it is served, and each of its texts."""
    texts = [str(row[key]) for key in TEXTS if key in row]  # type: ignore[literal-required]
    texts += row.get("negatives", [])
    found = sum(len(base.tokenizer(text, add_special_tokens=False).input_ids) for text in texts)
    return found + (len(prompt_ids(base, row["messages"])) if "messages" in row else 0)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Give a folder that is gone afterwards, and was emptied of what a killed run left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
