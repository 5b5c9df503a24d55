"""`markgraph bench`: MARK and its rivals in turns, and how they compare."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from markgraph.bench.kept import kept_for
from markgraph.bench.measure import Case, Run
from markgraph.bench.plan import RIVALS, Plan
from markgraph.bench.plot import check_plot, draw_plot
from markgraph.bench.progress import Progress
from markgraph.bench.table import Row, as_json, show
from markgraph.commands.checks import OUTPUTS, check_choice, check_number, check_writable
from markgraph.errors import ConfigError
from markgraph.json_text import json_text
from markgraph.models.catalog import weights_of
from markgraph.models.machine import describe_machine, processor

SUITES = {"engine": "markgraph.bench.engine"}
"""The module of each suite: its `cases(plan)` are measured."""
MASKS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Variables that keep torch from what the processor has: reported, because they change every figure."""
DISTURBING = 0.05
"""Share of the time that idle engines may compute before it is worth a word."""


def run(config: DictConfig) -> int:
    """Measure, print what came of it, and return 0, whatever the figures are."""
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "suite", tuple(SUITES))
    check_choice(config, "quick", (True, False))
    check_choice(config, "resume", (True, False))
    check_number(config, "rounds", 1, 1000)
    check_number(config, "threads", 1, 1024, optional=True)
    if config.plot is not None:
        check_plot(Path(config.plot))
        check_writable("plot", Path(config.plot))
    plan = _plan(config)
    cases = _chosen(import_module(SUITES[config.suite]).cases(plan), config)
    progress = Progress(sum(case.seconds * (case.rounds or config.rounds) for case in cases))
    kept = kept_for(asdict(plan) | {"rounds": config.rounds, "mark": version("markgraph")})
    if not config.resume:
        kept.clear()
    measured = Run(cases, config.rounds, progress, kept)
    before = os.getloadavg()
    try:
        with _terminated_as_interrupted():
            measured.measure()
    finally:  # what was measured before an interruption, or a fault, is worth having
        progress.end()
        _report(measured, plan, before, config)
    return 0


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does, where this is the thread that hears of signals."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _plan(config: DictConfig) -> Plan:
    rivals = _names(config, "rival", tuple(RIVALS))
    settings = dict(weights_of(cast(Mapping[str, Any], OmegaConf.to_container(config.model, resolve=True))))
    threads = config.threads or processor().threads
    return Plan(settings | {"threads": threads}, rivals, threads, config.quick, config.python)


def _chosen(cases: list[Case], config: DictConfig) -> list[Case]:
    if config.rows is None:
        return cases
    chosen = _names(config, "rows", tuple(dict.fromkeys(case.key for case in cases)))
    return [case for case in cases if case.key in chosen]


def _names(config: DictConfig, key: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that `key` lists: `a,b`, or a list; none for null."""
    value = config[key]
    listed = [] if value is None else value.split(",") if isinstance(value, str) else list(value)
    for name in listed:
        if name not in allowed:
            raise ConfigError(f"Config {key!r} has value {name!r}. Allowed: {', '.join(allowed)}.")
    return tuple(listed)


def _report(run: Run, plan: Plan, before: tuple[float, ...], config: DictConfig) -> None:
    """Print rows and machine; draw the plot."""
    rows = run.rows()
    machine = describe_machine() | {
        "threads": plan.threads,
        "load_average": {"before": list(before), "after": list(os.getloadavg())},
        "masks": {name: os.environ.get(name) for name in MASKS},
        "idle_engines": round(run.disturbed, 3),
        "limit": {
            "bytes_per_token": plan.limit.weights,
            "bandwidth": plan.limit.bandwidth,
            "tokens_per_second": plan.limit.tokens_per_second,
        },
    }
    if config.output == "json":
        print(json_text(as_json(rows, machine)))  # noqa: T201
    else:
        _print(rows, machine, run, plan)
    if config.plot is not None and rows:
        draw_plot(rows, Path(config.plot), f"MARK, {machine['processor']['name']}, {plan.threads} threads")


def _print(rows: list[Row], machine: dict[str, Any], run: Run, plan: Plan) -> None:
    console = Console(highlight=False)
    show(rows, console)
    cores, load = machine["processor"], machine["load_average"]
    console.print(
        f"\n{cores['name']}, {plan.threads} threads, {', '.join(cores['matrix_units'])}. "
        f"Load average {load['before'][0]:.1f} before, {load['after'][0]:.1f} after; "
        "a machine with other work to do measures that too."
    )
    limit = plan.limit
    console.print(
        f"Physical limit for one request: {limit.tokens_per_second:.0f} tokens/s "
        f"({limit.words}; what fits into a cache may be read faster)."
    )
    if run.disturbed > DISTURBING:
        console.print(f"Engines that were to wait computed for {run.disturbed:.0%} of a measurement.")
