"""What a run of a verb came to: its exit code, and the figure that a sweep looks at."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

PLACE = "MARKGRAPH_OUTCOME"
"""The environment variable that names the file into which a process of a sweep writes its figure."""


class Outcome(NamedTuple):
    """What a run came to."""

    code: int
    """Its exit code."""
    figure: float | None = None
    """What it measured, such as the main metric of a candidate; None where it measured nothing."""


_OUTCOMES: ContextVar[list[Outcome]] = ContextVar("what the runs of the verb under way came to")


@contextmanager
def collecting() -> Iterator[list[Outcome]]:
    """Collect what the runs within come to."""
    outcomes: list[Outcome] = []
    token = _OUTCOMES.set(outcomes)
    try:
        yield outcomes
    finally:
        _OUTCOMES.reset(token)


def note(outcome: Outcome) -> None:
    """Say what a run came to, for whoever collects."""
    _OUTCOMES.get().append(outcome)


def tell(outcomes: list[Outcome]) -> None:
    """Write the last figure for the sweep that this process was started by, if it was by one."""
    if outcomes and (place := os.environ.get(PLACE)):
        Path(place).write_text(json.dumps(outcomes[-1].figure), "utf-8")


def told(place: Path) -> float | None:
    """Return what a process has written; None where it wrote nothing."""
    figure: float | None = json.loads(place.read_text("utf-8") or "null")
    return figure
