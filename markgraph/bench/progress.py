"""Says on stderr what is being measured, and how long it will go on."""

import sys
from time import perf_counter

from rich.console import Console


class Progress:
    """A status line on a terminal; a line for each case elsewhere."""

    def __init__(self, seconds: float) -> None:
        """Take how long everything should take on two cores; how long it really takes is learnt."""
        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("starting") if sys.stderr.isatty() else None
        self._begun = perf_counter()
        self._left, self._spent = seconds, 0.0
        self._title = ""

    def begin(self, title: str) -> None:
        """Say which case is measured now."""
        self._title = title
        if self._status is None:
            self._console.print(f"{title} ({self._time_left()})", soft_wrap=True)
        else:
            self._status.start()
            self._show("loading")

    def trying(self, who: str, words: str) -> None:
        """Say that a setting is tried, to find the best."""
        self._show(f"trying {who}{f' ({words})' if words else ''}")

    def turn(self, turn: int, turns: int, who: str) -> None:
        """Say whose turn it is, in which round."""
        self._show(f"round {turn} of {turns}: {who}")

    def spend(self, seconds: float) -> None:
        """Note that what should have taken `seconds` is done."""
        self._spent += seconds
        self._left -= seconds

    def skip(self, seconds: float) -> None:
        """Note that what would have taken `seconds` need not be done."""
        self._left -= seconds

    def end(self) -> None:
        """Take the status line away."""
        if self._status is not None:
            self._status.stop()

    def _show(self, text: str) -> None:
        if self._status is not None:
            self._status.update(f"{self._title}, {text} ({self._time_left()})")

    def _time_left(self) -> str:
        pace = (perf_counter() - self._begun) / self._spent if self._spent else 1.0
        left = max(0.0, self._left * pace)
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"
