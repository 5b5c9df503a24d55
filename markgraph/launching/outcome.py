"""What a run of a verb came to: its exit code, the figure that a sweep looks at, and what it made."""

import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from markgraph.launching.processes import rank

PLACE = "MARKGRAPH_OUTCOME"
"""The environment variable that names the file into which a process of a sweep writes its figure."""
TOLD = ("figure", "metric", "lower_is_better", "made")
"""What such a process writes there: the rest is known to who started it."""


class Outcome(NamedTuple):
    """What a run came to."""

    code: int
    """Its exit code."""
    figure: float | None = None
    """What it measured, such as the main metric of a candidate; None where it measured nothing."""
    metric: str = "figure"
    """What that is called."""
    lower_is_better: bool = False
    made: str | None = None
    """What it has registered, as it is named elsewhere: MODEL@VERSION."""
    job: int | None = None
    """Which job of a sweep it was, from 1; None where it was none, or nobody is to compare it."""
    overrides: tuple[str, ...] = ()
    """What that job was given."""


_OUTCOMES: ContextVar[list[Outcome]] = ContextVar("what the runs of the verb under way came to")


@contextmanager
def collecting() -> Iterator[list[Outcome]]:
    """Collect what the runs within come to; the jobs of a sweep are compared on stderr at its end."""
    outcomes: list[Outcome] = []
    token = _OUTCOMES.set(outcomes)
    try:
        yield outcomes
    finally:
        _OUTCOMES.reset(token)
        jobs = [each for each in outcomes if each.job is not None]
        if len(jobs) > 1 and not rank():
            print("\n".join(_table(jobs)), file=sys.stderr)  # noqa: T201


def note(outcome: Outcome) -> None:
    """Say what a run came to, for whoever collects. Hydra knows of a sweep's job in this process."""
    if outcome.job is None and HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        hydra = HydraConfig.get()
        outcome = outcome._replace(job=hydra.job.num + 1, overrides=tuple(hydra.overrides.task))
    _OUTCOMES.get().append(outcome)


def compared() -> list[Outcome]:
    """Return what the jobs so far came to, for a sweeper that compares them: nobody does so again."""
    outcomes = _OUTCOMES.get()
    jobs = [each for each in outcomes if each.job is not None]
    outcomes[:] = [each._replace(job=None) for each in outcomes]
    return jobs


def tell(outcomes: list[Outcome]) -> None:
    """Write what the last run came to for the sweep that this process was started by, if it was by one."""
    if outcomes and (place := os.environ.get(PLACE)):
        last = outcomes[-1]._asdict()
        Path(place).write_text(json.dumps({key: last[key] for key in TOLD}), "utf-8")


def told(place: Path, code: int) -> Outcome:
    """Return what a process that ended with `code` has written; only that where it wrote nothing."""
    return Outcome(code, **json.loads(place.read_text("utf-8") or "{}"))


def differing(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return for each job the overrides that not all of them have; of one job, all that it has."""
    same = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
    return [" ".join(each for each in overrides if each not in same) for overrides in jobs]


def _table(jobs: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of a table of jobs: with what they made, if anything, and with the best marked."""
    metrics, best = {each.metric for each in jobs if each.figure is not None}, _best(jobs)
    rows = [("job", "overrides", "exit code", metrics.pop() if len(metrics) == 1 else "figure", "registered")]
    for each, differs in zip(jobs, differing([each.overrides for each in jobs]), strict=True):
        figure = "-" if each.figure is None else f"{each.figure:.6g}{'  best' if each is best else ''}"
        rows.append((str(each.job), differs, str(each.code), figure, each.made or ""))
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _best(jobs: Sequence[Outcome]) -> Outcome | None:
    """Return the best of the jobs that ended with 0; None where they measured different things, or none."""
    figures = [(each.figure, each) for each in jobs if each.code == 0 and each.figure is not None]
    measured = [(figure, each) for figure, each in figures if math.isfinite(figure)]
    if len({(each.metric, each.lower_is_better) for _, each in measured}) != 1:
        return None
    choose = min if measured[0][1].lower_is_better else max
    return choose(measured, key=itemgetter(0))[1]
