"""Shows the plan of a training, and what became of it: tables for people, JSON for programs."""

import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from markgraph.commands.terminal import printable
from markgraph.evaluation.comparison import MIN_ROWS
from markgraph.json_text import json_text

LABELS = {"latency": "latency, minus seconds"}
"""What a metric is called where its name says less than its figures: higher is better in all of them."""
SHOWN = ("run", "prepared", "plan", "trained", "metric", "scores", "verdict", "registered")


def print_plan(state: Mapping[str, Any], config: DictConfig) -> None:
    """Print what would be trained, and what it would take."""
    if config.output == "json":
        if not config.confirm:
            _print_json(state, config)
        return
    plan, console = state["plan"], _console()
    console.print(f"Run {state['run']}: {plan['base']}, config {plan['config_hash'][:12]}")
    console.print(_table_of(plan))
    for stage, prepared in state["prepared"].items():
        if prepared["left_out"]:
            told = ", ".join(
                f"{count} {printable(why)}" for why, count in sorted(prepared["left_out"].items())
            )
            console.print(f"Left out of {stage}: {told}")
    console.print(
        f"Estimated from {config.graph.plan.steps} steps of each stage. Held-back losses and scoring come on "
        "top."
    )
    held = plan["stages"][-1]["held"]
    if held < MIN_ROWS and config.graph.evaluate.rows is None:
        console.print(
            f"Only {held} rows are held back, and the gate needs {MIN_ROWS}: nothing could be registered. "
            "Give more rows, raise graph.prepare.held, or name judged ones: graph.evaluate.rows=FILE."
        )
    console.print(f"Config, rows and what was left out: {_place(state, config)}")
    if not config.confirm:
        console.print("Nothing has been trained. Train it with:")
        console.print(f"  markgraph train resume={state['run']} confirm=true")


def print_report(state: Mapping[str, Any], config: DictConfig, *, done_before: bool) -> None:
    """Print what became of a run."""
    if config.output == "json":
        _print_json(state, config)
        return
    console = _console()
    if done_before:
        console.print(f"Run {state['run']} is finished; nothing was done again.")
    if not state["approved"]:
        console.print("It was not approved, and nothing was trained.")
        return
    for stage, done in state["trained"].items():
        loss = "" if done["loss"] is None else f", loss {done['loss']:.4f}"
        if done.get("diverged"):
            loss = ", diverged: the loss is no finite number"
        console.print(f"{stage}: {done['steps']} steps in {_time(done['seconds'])}{loss}")
    console.print(_table_of_scores(state["verdict"]["differences"], state["scores"]))
    for reason in state["verdict"]["reasons"]:
        console.print(f"refused: {printable(reason)}")
    if registered := state["registered"]:
        console.print(
            f"Registered as {registered['name']}@{registered['version']}, the {registered['alias']}."
        )
    else:
        console.print("Not registered: what is in service stays.")
    console.print(f"Model, log and plots: {_place(state, config)}")


def _table_of(plan: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("stage", "method"):
        table.add_column(name)
    for name in ("rows", "held back", "tokens", "steps", "s/step", "time", "memory"):
        table.add_column(name, justify="right")
    for each in plan["stages"]:
        counts = [f"{each[key]:,}" for key in ("rows", "held", "tokens", "steps")]
        memory = _gib(each["peak_bytes"])
        if each["peak_gpu_bytes"]:
            memory += f" + {_gib(each['peak_gpu_bytes'])} GPU"
        times = [f"{each['seconds_per_step']:.2f}", _time(each["seconds"])]
        table.add_row(each["stage"], each["method"], *counts, *times, memory)
    return table


def _table_of_scores(differences: Mapping[str, Any], scores: Mapping[str, Mapping[str, float]]) -> Table:
    """Return what was compared, and the bare means of what there are too few rows to compare in."""
    champion, candidate = scores["champion"], scores["candidate"]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("metric")
    for name in ("champion", "candidate", "difference", "95 % interval"):
        table.add_column(name, justify="right")
    for metric in dict.fromkeys((*differences, *champion, *candidate)):
        told = ["" if metric not in means else f"{means[metric]:.4g}" for means in (champion, candidate)]
        if each := differences.get(metric):
            told += [f"{each['mean']:+.4g}", f"[{each['low']:+.4g}, {each['high']:+.4g}]"]
        table.add_row(LABELS.get(metric, metric), *told)
    return table


def _print_json(state: Mapping[str, Any], config: DictConfig) -> None:
    """Print all as one object; `latency` in `scores` and `verdict` is seconds with a minus before them."""
    shown = {key: state[key] for key in SHOWN if key in state}
    print(json_text(shown | {"folder": str(_place(state, config))}))  # noqa: T201


def _place(state: Mapping[str, Any], config: DictConfig) -> Path:
    return Path(config.data_dir).expanduser() / "training" / str(state["run"])


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _console() -> Console:
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty(), markup=False)
