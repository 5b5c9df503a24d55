"""Holds the vectors that a group of callers may read, as long as nothing is written.

Few among many are found faster by comparing each of them than by going along a graph of all.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np

ROWS = 80_000
"""So many vectors are held at most, of those groups that asked last."""
SEEN = 1000
"""Groups that are remembered."""


@dataclass(frozen=True)
class View:
    """What callers who may read the same may read."""

    ids: list[str]
    vectors: np.ndarray
    """(n, d), each of length 1."""

    @classmethod
    def of(cls, ids: list[str], vectors: np.ndarray) -> "View":
        """Return a view of `vectors`, (n, d), of any length."""
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)  # (n, 1)
        return cls(ids, vectors / np.where(lengths == 0, 1, lengths))

    def nearest(self, vector: np.ndarray, k: int) -> dict[str, float]:
        """Return the cosines of the `k` chunks nearest to `vector`, (d,), nearest first, by id."""
        unit = vector / (np.linalg.norm(vector) or 1)
        # In this thread: to wait for others takes longer than the sums, on a busy machine.
        scores = np.einsum("ij,j->i", self.vectors, unit)  # (n,)
        best = np.argpartition(-scores, k)[:k] if k < len(self.ids) else np.arange(len(self.ids))
        found = {self.ids[at]: float(scores[at]) for at in best}
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


@dataclass
class Views:
    """Makes a view for a group that asks, and drops all when something was written."""

    _version: int = -1
    _seen: set[Hashable] = field(default_factory=set)
    _views: OrderedDict[Hashable, View | None] = field(default_factory=OrderedDict)

    def get(
        self, group: Hashable, version: int, make: Callable[[], View | None], is_cheap: Callable[[], bool]
    ) -> View | None:
        """Return what `group` may read; None where that is too much to hold.

        None also where it asks for the first time, and a view is not cheap: it may not ask again.

        Args:
            group: callers who may read the same.
            version: of what is stored; another one for each write.
            make: makes the view, or None where it would be too large.
            is_cheap: whether that is done in a moment.
        """
        if version != self._version:
            self._seen.clear()
            self._views.clear()
            self._version = version
        if group in self._views:
            self._views.move_to_end(group)
            return self._views[group]
        if group not in self._seen and not is_cheap():
            if len(self._seen) >= SEEN:
                self._seen.clear()
            self._seen.add(group)
            return None
        self._views[group] = view = make()
        while len(self._views) > 1 and (len(self._views) > SEEN or self._rows() > ROWS):
            self._views.popitem(last=False)
        return view

    def _rows(self) -> int:
        return sum(len(view.ids) for view in self._views.values() if view)
