"""How far a training is: lines in a log, and only a bar on a terminal."""

import sys
from io import StringIO

import pytest

from markgraph.commands.train_progress import Progress


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(StringIO):
    """Somebody who watches."""

    def isatty(self) -> bool:
        return True


def follow(progress: Progress, clock: Clock) -> None:
    """Tell of ten minutes: 40 steps of a run that goes on at step 10, then 5 rows."""
    progress.show({"stage": "sft", "planning": True})
    for step in range(10, 51):
        progress.show({"stage": "sft", "step": step, "steps": 468, "loss": None if step < 20 else 1.23456})
        clock.now += 5
    for row in range(6):
        progress.show({"scoring": "the champion", "row": row, "rows": 200})
        clock.now += 40


def test_a_log_has_a_line_about_once_a_minute_and_none_within_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with Progress(clock=clock) as progress:
        follow(progress, clock)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "sft: step 22 of 468, loss 1.235, 0.2 steps/s",
        "sft: step 34 of 468, loss 1.235, 0.2 steps/s",
        "sft: step 46 of 468, loss 1.235, 0.2 steps/s",
        "scoring the champion: row 1 of 200, 0.025 rows/s",
        "scoring the champion: row 3 of 200, 0.025 rows/s",
        "scoring the champion: row 5 of 200, 0.025 rows/s",
    ]


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, terminal = Clock(), Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(every=0, clock=clock) as progress:
        follow(progress, clock)
    assert "468" in terminal.getvalue()
    assert "step 22 of 468" not in terminal.getvalue()
