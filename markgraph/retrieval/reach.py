"""Remembers how far a search has to look until enough of what it sees is a caller's."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

SPARE = 1.25
"""So much further than lately, since the next question's neighbours are others."""
DECAY = 0.98
REMEMBERED = 1000
"""Groups of callers; a few numbers each."""


@dataclass
class Reach:
    """Says how many neighbours to look at, for callers who may read the same."""

    limit: int
    """At most so many; 0 looks at none."""
    _per_hit: OrderedDict[Hashable, float] = field(default_factory=OrderedDict, repr=False)
    """Neighbours that it lately took for each hit."""

    def first(self, group: Hashable, k: int) -> int:
        """Return how many neighbours to look at first for `k` hits: somewhat more than it lately took."""
        return int(k * self._per_hit.get(group, 1.0) * SPARE) + 1

    @staticmethod
    def further(looked: int, hits: int, k: int) -> int:
        """Return how many to look at where `looked` gave `hits`, fewer than `k`."""
        return max(2 * looked, int(looked * k / (hits + 1) * SPARE))

    def learn(self, group: Hashable, k: int, taken: int | None) -> None:
        """Remember that `k` hits took so many neighbours, or, for None, more than there may be."""
        now = (self.limit if taken is None else taken) / max(k, 1)
        self._per_hit[group] = max(now, self._per_hit.get(group, 1.0) * DECAY)
        self._per_hit.move_to_end(group)
        while len(self._per_hit) > REMEMBERED:
            self._per_hit.popitem(last=False)
