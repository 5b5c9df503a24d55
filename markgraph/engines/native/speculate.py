"""Speculation: read guesses along with the last token, and keep those that are what the model says anyway.

Lossless: at each place the request's own sampler chooses from the model's own logits, whatever was guessed,
and a guess counts where it is what was chosen. For a guess without a distribution of its own that is the
rejection sampling of Leviathan et al. 2023 and Chen et al. 2023. As random numbers are spent by place and not
by guess, a seeded answer doesn't depend on what was guessed (drafter invariance, Daliri et al. 2025), and so
not on the clock, by which guessing is switched on and off.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from markgraph.engines.native.draft import Drafting
from markgraph.engines.native.lookup import Guess, same
from markgraph.engines.native.odds import Odds
from markgraph.engines.native.pace import Pace, Probe
from markgraph.engines.native.request import Row

MOST = 12
"""Guesses for one row in a step."""

log = logging.getLogger(__name__)


@dataclass
class Speculation:
    """What is guessed for one step."""

    rows: Sequence[Row]
    guesses: list[list[int]]
    """What to read for each row; all empty where a plain step is expected to do better."""
    found: list[Guess]
    """What could have been read."""
    lengths: list[int] = field(init=False)
    drafted: bool = False

    def __post_init__(self) -> None:
        self.lengths = [len(row.tokens) for row in self.rows]


class Speculator:
    """Decides step by step what to guess for which row, and learns from what came of it.

    Args:
        drafting: guesses where nothing is found to copy; None to guess nothing there.
    """

    def __init__(self, drafting: Drafting | None = None) -> None:
        self.read = self.right = 0
        """Guesses that were read so far, and those of them that were right."""
        self._drafting = drafting
        self._pace = Pace()
        self._odds = Odds()
        self._probe = Probe()

    def bytes_for(self, capacity: int) -> int:
        """Return the memory that guessing takes for a request, in bytes."""
        return self._drafting.model.bytes_for(capacity) if self._drafting else 0

    def guess(self, rows: Sequence[Row]) -> Speculation:
        """Return what to read for `rows` beside their last tokens."""
        rooms = [min(MOST, row.request.left - 1, row.request.pipe.room - 1) for row in rows]
        found = [row.request.lookup.guess(room) for row, room in zip(rows, rooms, strict=True)]
        counts = self._counts(rows, found)
        if self._drafting and not any(counts):
            drafted = self._draft(self._drafting, rows, min(rooms))
            return Speculation(rows, drafted, found, drafted=any(drafted))
        copied = [each.tokens[:count] for each, count in zip(found, counts, strict=True)]
        return Speculation(rows, copied, found)

    def learn(self, speculation: Speculation, seconds: float) -> None:
        """Take note of what was chosen, by the rows as they are now, and of the time of the step."""
        rows, guesses = speculation.rows, speculation.guesses
        self._pace.note(len(rows), len(rows) + sum(map(len, guesses)), seconds)
        for row, length, guess, found in zip(
            rows, speculation.lengths, guesses, speculation.found, strict=True
        ):
            chosen = row.tokens[length:]
            right = same(guess, chosen)
            self.read += len(guess)
            self.right += right
            if speculation.drafted:
                row.draft_luck.note(right, int(right < len(guess)))
            # What was found and not read is compared too: that costs nothing.
            right = same(found.tokens, chosen)
            self._odds.note(row.luck, found.agreed, right, int(right < min(len(chosen), len(found.tokens))))

    def _draft(self, drafting: Drafting, rows: Sequence[Row], room: int) -> list[list[int]]:
        """Return what the draft model guesses; one that fails is not asked again, and costs no answer."""
        try:
            return drafting.guess(rows, room, self._pace)
        except Exception:
            log.exception("The draft model failed, so nothing is drafted any more.")
            self._drafting = None
            return [[] for _ in rows]

    def _counts(self, rows: Sequence[Row], found: Sequence[Guess]) -> list[int]:
        if not any(guess.tokens for guess in found):
            return [0] * len(rows)
        hopes = [
            _chain(self._odds.chance(row.luck, guess.agreed), len(guess.tokens))
            for row, guess in zip(rows, found, strict=True)
        ]
        counts = self._pace.worth(hopes)
        if self._probe.due(pays=any(counts)):
            return [min(2, len(guess.tokens)) for guess in found]
        return counts


def _chain(chance: float, length: int) -> list[float]:
    """Return the probabilities that the first guess is right, that the first two are, and so on."""
    return [chance**place for place in range(1, length + 1)]
