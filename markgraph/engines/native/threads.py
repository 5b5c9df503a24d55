"""How many threads compute: all, unless somebody else computes on the same cores.

The threads of a step wait for each other some hundred times. Where one has to share its core, each time lasts
a turn of the system's scheduler: beside another busy process on two cores, a step for sixteen requests took
70 ms with two threads and 15 with one; undisturbed, 7 and 11. So the time of steps is watched, and fewer
threads are taken where they are measured to be faster. Results don't depend on it.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean
from time import perf_counter

from markgraph.engines.native.pace import OUTLIER, WEIGHT, Probe

TRY_AFTER = 8
"""So many steps pass before a number of threads is tried for the first time, and between two of those."""
TRIAL = 4
"""Steps of a trial, unless it is seen at once that it does not pay."""
DISTURBED = 1.5
"""Times as long as usual that steps take when something is wrong."""
CLASSES = (2, 8, 24)
"""Rows up to which steps gain alike from threads; then come larger ones, and prompts."""


class Threads:
    """Chooses for steps of some size at a time.

    Args:
        most: as many as may compute.
        set_count: sets how many threads compute for the calling thread, and for no other.
    """

    def __init__(self, most: int, set_count: Callable[[int], object]) -> None:
        self._most = most
        self._set_count = set_count
        self._choices = [Choice(most) for _ in range(len(CLASSES) + 2)]

    @contextmanager
    def computing(self, rows: int, *, reading: bool = False) -> Iterator[int]:
        """Have the block, which computes so many rows, take as many threads as do it fastest; yield that.

        Args:
            reading: they are of one prompt, which is read in pieces of any size.
        """
        at = -1 if reading else bisect_left(CLASSES, rows)
        count = self._choices[at].count()
        if count != self._most:
            self._set_count(count)
        began = perf_counter()
        try:
            yield count
        finally:
            if count != self._most:
                self._set_count(self._most)
        seconds = perf_counter() - began
        if rows <= CLASSES[-1] and not reading:
            self._choices[at].note(count, rows, seconds)
        else:
            self._choices[at].note(count, rows.bit_length(), seconds / rows)


class Choice:
    """Keeps running means of how long steps take, by number of threads, and tries what may be faster."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._slow = {most >> halved: float(1 << halved) for halved in range(most.bit_length())}
        """Times as long as usual; until it is measured, half the threads take twice as long."""
        self._usual: dict[int, float] = {}
        """Seconds that a step of some size takes with all threads, at best."""
        self._untried = [count for count in self._slow if count < most]
        self._turns = deque(self._slow)
        """In which order they are tried again."""
        self._tried: list[float] = []
        """What the trial that goes on has shown so far."""
        self._trial: int | None = None
        self._steps = 0
        self._probe = Probe()

    def count(self) -> int:
        """Return how many threads the next step is to take."""
        self._steps += 1
        if self._trial:
            return self._trial
        best = min(self._slow, key=self._slow.__getitem__)
        due = self._probe.due(pays=best == self._most and self._slow[best] < DISTURBED)
        if self._untried and self._steps % TRY_AFTER == 0:
            self._trial = self._untried.pop(0)
        elif due and len(self._slow) > 1:
            self._turns.rotate(-1)
            self._trial = self._turns[-1] if self._turns[-1] != best else self._turns[0]
        return self._trial or best

    def note(self, count: int, size: int, seconds: float) -> None:
        """Take note of how long a step took, which is compared with steps of the same `size`."""
        usual = self._usual.setdefault(size, seconds / self._slow[count])
        if count == self._most and seconds < usual:
            usual = self._usual[size] = seconds
        slow, mean = seconds / usual, self._slow[count]
        if count != self._trial:
            self._slow[count] += WEIGHT * (min(slow, OUTLIER * mean) - mean)
            return
        self._tried.append(slow)
        self._slow[count] = fmean(self._tried)
        best = min(mean for other, mean in self._slow.items() if other != count)
        if slow > best or len(self._tried) == TRIAL:
            self._trial, self._tried = None, []
