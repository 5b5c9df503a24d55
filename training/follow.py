"""Follows a training: its log, its progress, the tracker, and Ctrl-C."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers import TrainerCallback

from markgraph.ingestion.interrupt import is_interrupted
from markgraph.json_text import json_text
from markgraph.training.tracking import Tracking

Told = Callable[[dict[str, Any]], None]
SUMMARY = "train_runtime"
"""A key of what a trainer logs once, at its end."""


class Follow(TrainerCallback):
    """Writes log.jsonl, tells how far the training is, and stops it with a checkpoint after Ctrl-C."""

    def __init__(self, stage: str, log: Path, tell: Told, tracking: Tracking) -> None:
        """Follow the training of `stage`; `tell` is given each step, `tracking` each figure."""
        self._stage, self._log, self._tell, self._tracking = stage, log, tell, tracking
        self._loss: float | None = None
        self._began, self._from = perf_counter(), 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Write the log as the checkpoint has it: what a killed run logged behind that is done again."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        kept = [json_text(each) + "\n" for each in state.log_history if SUMMARY not in each]
        self._log.write_text("".join(kept), "utf-8")
        self._began, self._from = perf_counter(), state.global_step
        if state.is_world_process_zero:
            for each in state.log_history:  # a kill may have taken some of these before the tracker had them
                self._track(_figures(each), each["step"])
        self._told(state)

    def tell_again(self) -> None:
        """Give the tracker all figures of the log: it leaves out those that it has."""
        for line in self._log.read_text("utf-8").splitlines():
            logged = json.loads(line)
            self._track(_figures(logged), logged["step"])

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Tell of the step; after Ctrl-C keep it, and stop."""
        self._told(state)
        if is_interrupted():
            control.should_save = control.should_training_stop = True

    def on_log(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Keep the figures."""
        figures = _figures(logs or {})
        if not figures or not state.is_world_process_zero:
            return
        self._loss = figures.get("loss", self._loss)
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json_text({**(logs or {}), "step": state.global_step}) + "\n")
        self._track(figures, state.global_step)

    def _track(self, figures: Mapping[str, float], step: int) -> None:
        self._tracking.log({f"{self._stage}/{key}": value for key, value in figures.items()}, step)

    def _told(self, state: Any) -> None:
        done = state.global_step - self._from
        rate = done / (perf_counter() - self._began) if done else 0.0
        self._tell(
            {
                "stage": self._stage,
                "step": state.global_step,
                "steps": state.max_steps,
                "loss": self._loss,
                "steps_per_second": rate,
            }
        )


def _figures(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among what a trainer logs of a step; none of what it logs at its end."""
    if SUMMARY in logs:
        return {}
    return {
        key: value
        for key, value in logs.items()
        if type(value) in (int, float) and key not in ("epoch", "step")
    }
