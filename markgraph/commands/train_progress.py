"""Shows how far a training is, on stderr: a bar on a terminal, elsewhere a line about once a minute."""

import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Self

from tqdm import tqdm

MINUTE = 60.0


class Progress:
    """Shows what the training graph tells: steps, how many a second, the loss, and how long yet."""

    def __init__(self, every: float = MINUTE, clock: Callable[[], float] = monotonic) -> None:
        """Show nothing yet.

        Args:
            every: where there is no terminal, seconds before the first line, and between lines, at least.
            clock: what says how many seconds have gone by.
        """
        self._bar: tqdm[Any] | None = None
        self._what = ""
        self._lines = None if sys.stderr.isatty() else Lines(every, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def show(self, told: Mapping[str, Any]) -> None:
        """Show one thing that was told."""
        if "step" in told:
            self._step(told)
        elif "planning" in told:
            self._note(f"planning {told['stage']}")
        elif "scoring" in told:
            self._count(f"scoring {told['scoring']}", "row", told["row"], told["rows"])

    def _step(self, told: Mapping[str, Any]) -> None:
        loss = None if told["loss"] is None else f"{told['loss']:.4g}"
        self._count(told["stage"], "step", told["step"], told["steps"], loss)

    def _count(self, what: str, unit: str, at: int, total: int, loss: str | None = None) -> None:
        if self._lines:
            self._lines.count(what, unit, at, total, loss)
            return
        if self._bar is None or self._what != what:
            self._close()
            self._what = what
            # What a run did before it was interrupted says nothing of its speed now.
            self._bar = tqdm(total=total, initial=at, desc=what, unit=unit, file=sys.stderr, smoothing=0.1)
        if loss is not None:
            self._bar.set_postfix(loss=loss, refresh=False)
        self._bar.update(at - self._bar.n)

    def _note(self, what: str) -> None:
        if self._lines:
            return
        self._close()
        self._bar = tqdm(desc=what, bar_format="{desc} {elapsed}", file=sys.stderr)
        self._what = ""

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Lines:
    """Prints a line when something is told and the last line is old: a log shows that there is life."""

    def __init__(self, every: float, clock: Callable[[], float]) -> None:
        """Print no more often than all `every` seconds by `clock`, which begin now."""
        self._every, self._clock = every, clock
        self._said = clock()
        self._what = ""
        self._began, self._from = self._said, 0

    def count(self, what: str, unit: str, at: int, total: int, loss: str | None) -> None:
        """Tell that `at` of `total` are done; the speed is that since `what` was first told of."""
        now = self._clock()
        if self._what != what:
            self._what, self._began, self._from = what, now, at
        if now - self._said < self._every:
            return
        self._said = now
        line = f"{what}: {unit} {at} of {total}"
        if loss is not None:
            line += f", loss {loss}"
        if at > self._from and now > self._began:
            line += f", {(at - self._from) / (now - self._began):.3g} {unit}s/s"
        print(line, file=sys.stderr, flush=True)  # noqa: T201
