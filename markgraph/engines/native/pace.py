"""What steps cost on this machine, measured as they run, and how many guesses are worth reading."""

from collections.abc import Sequence

GUESSED_COST = 0.2
"""A further token is thought to take so much of a step that reads one, until it is measured."""
MARGIN = 1.05
"""A gain counts from here on: the estimate is not better than that."""
WEIGHT = 0.2
"""Of a new measurement in the running mean."""
OUTLIER = 2.0
"""What takes longer than so many times the mean was held up by something else."""
PROBE, LONGEST = 64, 1024
"""After so many steps for which there were guesses, and none was read, some are: the pace changes."""
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Guesses that a step may read: few sizes, so that each is measured often."""


class Pace:
    """Keeps running means of the seconds that a step takes, by its rows and the tokens that it reads.

    Steps get slower as texts grow; those that read guesses and those that don't do alike.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, dict[int, float]] = {}

    def note(self, rows: int, tokens: int, seconds: float) -> None:
        """Take note of a step that read so many `tokens` for so many `rows`."""
        known = self._seconds.setdefault(rows, {})
        mean = known.setdefault(tokens, seconds)
        known[tokens] += WEIGHT * (min(seconds, OUTLIER * mean) - mean)

    def knows(self, rows: int) -> bool:
        """Tell whether any step of so many rows was measured."""
        return rows in self._seconds

    def seconds(self, rows: int, tokens: int) -> float:
        """Return what such a step will take: as measured, or else scaled from the nearest that was."""
        known = self._seconds.get(rows, {1: 1.0})
        nearest = min(known, key=lambda other: abs(other - tokens))
        return known[nearest] * _guessed(tokens) / _guessed(nearest)

    def worth(self, hopes: Sequence[Sequence[float]]) -> list[int]:
        """Return how many guesses to read for each row; zeros where a plain step is expected to do better.

        Args:
            hopes: for each row, the probability that the first guess is right, that the first two are, ...
        """
        rows = len(hopes)
        ranked = sorted(
            ((hope, row) for row, chain in enumerate(hopes) for hope in chain), key=lambda pair: -pair[0]
        )
        best, rate = 0, MARGIN * rows / self.seconds(rows, rows)
        # Step by step: where many tokens take far longer than thought, that is learned from a few.
        farthest = 2 * (max(self._seconds.get(rows, {rows})) - rows) + 2
        for size in SIZES:
            if size > min(len(ranked), farthest):
                break
            expected = rows + sum(hope for hope, _ in ranked[:size])
            if (found := expected / self.seconds(rows, rows + size)) > rate:
                best, rate = size, found
        counts = [0] * rows
        for _, row in ranked[:best]:
            counts[row] += 1
        return counts


class Probe:
    """Says when to try again what does not pay: after 64 steps, then after twice as many, and so on."""

    def __init__(self) -> None:
        self._passed, self._wait = 0, PROBE

    def due(self, *, pays: bool) -> bool:
        """Take note of a step, and tell whether to try although it does not pay."""
        if pays:
            self._passed, self._wait = 0, PROBE
            return False
        self._passed += 1
        if self._passed < self._wait:
            return False
        self._passed, self._wait = 0, min(2 * self._wait, LONGEST)
        return True


def _guessed(tokens: int) -> float:
    return 1.0 + GUESSED_COST * (tokens - 1)
