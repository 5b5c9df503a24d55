"""What the bench reports: rows, and how they are shown."""

import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

HOLDS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Bound:
    """What a figure has to keep to."""

    sign: Literal["<=", ">="]
    figure: float

    def holds(self, figure: float) -> bool:
        """Tell whether `figure` keeps to it."""
        return bool(HOLDS[self.sign](figure, self.figure))

    def __str__(self) -> str:
        return f"{self.sign} {self.figure:g}"


@dataclass(frozen=True)
class Row:
    """A figure of MARK's, and how it stands to a rival's; the keys of `output=json`."""

    what: str
    value: float
    """The median of MARK's runs."""
    unit: str
    rival: str | None
    """Whom it is compared with, how that was set up, or why it was not."""
    ratio: float | None
    """Ratio of the two medians, turned as `what` or the target says it."""
    target: str | None
    """What the ratio has to be, or the value where there is no rival."""
    ok: bool | None
    runs: list[float]
    """MARK's runs, in the order in which they were made."""


def compare(
    what: str,
    unit: str,
    runs: Sequence[float],
    rival: str | None = None,
    theirs: Sequence[float] = (),
    target: Bound | None = None,
    *,
    times_faster: bool = False,
) -> Row:
    """Return the row for what was measured.

    Args:
        theirs: the rival's runs; empty where it has none.
        times_faster: the ratio is the rival's figure by MARK's, not MARK's by the rival's.
    """
    value = median(runs)
    ratio = None
    if theirs:
        ratio = median(theirs) / value if times_faster else value / median(theirs)
    judged = ratio if rival is not None else value
    ok = None if target is None or judged is None else target.holds(judged)
    return Row(
        what=what,
        value=_rounded(value),
        unit=unit,
        rival=rival,
        ratio=None if ratio is None else _rounded(ratio),
        target=None if target is None else str(target),
        ok=ok,
        runs=[_rounded(run) for run in runs],
    )


def as_json(rows: Sequence[Row], machine: dict[str, Any]) -> dict[str, Any]:
    """Return what `output=json` prints."""
    return {"rows": [asdict(row) for row in rows], "machine": machine}


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the rows, those of one figure under what it is; who it is compared with stands last."""
    unit = max((len(row.unit) for row in rows), default=0)
    target = max((len(row.target or "") for row in rows), default=0)
    before = None
    for row in rows:
        if row.what != before:
            console.print(row.what, style="bold", markup=False, soft_wrap=True)
        before = row.what
        ratio = "" if row.ratio is None else f"{figure(row.ratio)}x"
        verdict = {True: "[green]ok[/]    ", False: "[red]missed[/]", None: "      "}[row.ok]
        told = f"{figure(row.value):>9} {row.unit:<{unit}} {ratio:>7}  {row.target or '':>{target}} {verdict}"
        console.print(f"{told}  {escape(row.rival or '')}".rstrip(), soft_wrap=True)


def figure(number: float) -> str:
    """Return a number with as many digits as say something."""
    if number == 0 or abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def _rounded(number: float) -> float:
    return float(f"{number:.6g}")
