"""Shows how far a training is: a bar on stderr, on a terminal only."""

import sys
from collections.abc import Mapping
from typing import Any, Self

from tqdm import tqdm


class Progress:
    """Draws what the training graph tells: steps, how many a second, the loss, and how long yet."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        self._what = ""

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
        if self._bar is None or self._what != what:
            self._close()
            self._what = what
            # What a run did before it was interrupted says nothing of its speed now.
            self._bar = tqdm(
                total=total,
                initial=at,
                desc=what,
                unit=unit,
                disable=None,
                file=sys.stderr,
                smoothing=0.1,
            )
        if loss is not None:
            self._bar.set_postfix(loss=loss, refresh=False)
        self._bar.update(at - self._bar.n)

    def _note(self, what: str) -> None:
        self._close()
        self._bar = tqdm(desc=what, bar_format="{desc} {elapsed}", disable=None, file=sys.stderr)
        self._what = ""

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
