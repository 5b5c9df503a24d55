"""Ranks the chunks of one tenant by BM25, for each caller with the statistics of what they may read."""

import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import log
from pathlib import Path
from typing import Self

import numpy as np

from markgraph.retrieval.chunk_rows import permissions_since
from markgraph.retrieval.frequencies import GONE, Array, Segment, merge
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions, may_read

K1, B = 1.5, 0.75
"""The parameters of BM25; the same as those of rank-bm25 and bm25s."""
CACHED_VIEWS = 16
"""How many sets of permissions keep what they open in memory: five bytes a chunk, each."""
ROWS = 5000
"""How many new chunks are read at once."""
ROWS_OF_MAXIMA = 64
RATIO = 4
"""Segments in memory are merged until each has more than so many times the chunks of the next."""


@dataclass
class _View:
    """What one set of permissions opens."""

    version: int
    allowed: Array
    """Which permissions let it read: (largest number + 1,) bool."""
    judged: int
    """How many permissions were looked at."""
    seen: list[Array | None]
    """For each segment which chunks are open: (chunks,) bool; None for all."""
    norms: list[Array]
    """For each segment K1 * (1 - B + B * length / mean length): (chunks,) float32."""
    count: int
    """How many chunks are open."""


@dataclass
class Ranking:
    """A base that is mapped into memory, and what was written since."""

    tenant: str
    base: str
    """The name of the base; empty where there is none."""
    change: int
    """The last change that is worked in."""
    segments: list[Segment]
    changed: int = 0
    """How many changes were worked in since the base was made."""
    _permissions: list[tuple[int, Permissions]] = field(default_factory=list)
    """Those of the tenant, by their numbers, ascending."""
    _version: int = 0
    _views: "OrderedDict[tuple[str, ...], _View]" = field(default_factory=OrderedDict)

    @classmethod
    def open(cls, tenant: str, folder: Path, base: str, change: int) -> Self:
        """Return what the base in `folder` says.

        Raises:
            OSError, ValueError, KeyError, TypeError, EOFError: the base is gone or damaged.
        """
        return cls(tenant, base, change, [Segment.open(folder / base)] if base else [])

    def catch_up(self, database: sqlite3.Connection) -> None:
        """Work in what was written since the last time."""
        query = "SELECT max(change) FROM changes WHERE tenant = ?"
        newest = database.execute(query, (self.tenant,)).fetchone()[0] or 0
        if newest <= self.change and self._version:
            return
        known = self._permissions[-1][0] if self._permissions else 0
        self._permissions += permissions_since(database, self.tenant, known).items()
        last = max((int(segment.positions[-1]) for segment in self.segments), default=0)
        query = """SELECT changes.position, permission FROM changes LEFT JOIN chunks USING (position)
            WHERE changes.tenant = ? AND change > ? AND changes.position <= ?"""
        for position, permission in database.execute(query, (self.tenant, self.change, last)):
            self.changed += 1
            for segment in self.segments:
                segment.permit(position, GONE if permission is None else permission)
        query = """SELECT position, permission, words FROM changes JOIN chunks USING (position)
            WHERE changes.tenant = ? AND change > ? AND position > ? ORDER BY position"""
        new = database.execute(query, (self.tenant, self.change, last))
        while rows := new.fetchmany(ROWS):
            self._append(rows)
        self.change = max(newest, self.change)
        self._version += 1

    def best(self, words: Sequence[str], caller: Caller, k: int) -> list[tuple[int, float]]:
        """Return positions and scores of at most `k` chunks that `caller` may read and that have a word."""
        view = self._view(caller)
        scores = [np.zeros(len(segment), np.float32) for segment in self.segments]
        for word, times in Counter(words).items():
            matches = [
                _open(segment.occurrences(word), seen)
                for segment, seen in zip(self.segments, view.seen, strict=True)
            ]
            frequency = sum(len(chunks) for chunks, _ in matches)
            weight = times * log(1 + (view.count - frequency + 0.5) / (frequency + 0.5))
            for score, norm, (chunks, counts) in zip(scores, view.norms, matches, strict=True):
                parts = norm.take(chunks, mode="clip")  # none is outside; "clip" is faster than to check
                parts += counts
                np.divide(counts, parts, out=parts)
                parts *= weight
                np.add.at(score, chunks, parts)
        return self._top(scores, k)

    def _top(self, scores: list[Array], k: int) -> list[tuple[int, float]]:
        """Return the positions of the `k` best, equal ones in the order of their positions."""
        found: list[tuple[int, float]] = []
        for segment, score in zip(self.segments, scores, strict=True):
            matching = np.flatnonzero(score >= max(_bound(score, k), np.finfo(np.float32).tiny))
            best = matching[np.argsort(-score[matching], kind="stable")][:k]
            found += zip(segment.positions[best].tolist(), score[best].tolist(), strict=True)
        return sorted(found, key=lambda each: -each[1])[:k]

    def _append(self, rows: Sequence[tuple[int, int, str]]) -> None:
        self.changed += len(rows)
        self.segments.append(Segment.of(rows))
        first = 1 if self.base else 0
        while len(self.segments) - first > 1 and len(self.segments[-1]) * RATIO >= len(self.segments[-2]):
            merged = merge(self.segments[-2:])
            self.segments[-2:] = [merged] if len(merged) else []

    def _view(self, caller: Caller) -> _View:
        key = (str(caller.clearance), *sorted(set(readers_of(caller))))
        view = self._views.pop(key, None)
        if view is None or view.version != self._version:
            view = self._made(caller, view)
        self._views[key] = view
        while len(self._views) > CACHED_VIEWS:
            self._views.popitem(last=False)
        return view

    def _made(self, caller: Caller, old: _View | None) -> _View:
        """Return what `caller` may read now; each permission is judged only once."""
        size = self._permissions[-1][0] + 1 if self._permissions else GONE + 1
        allowed = np.zeros(size, bool)
        judged = 0
        if old is not None:
            allowed[: len(old.allowed)], judged = old.allowed, old.judged
        for number, permissions in islice(self._permissions, judged, None):
            allowed[number] = may_read(caller, permissions)
        masks = [allowed[segment.permissions] for segment in self.segments]
        count = sum(int(np.count_nonzero(mask)) for mask in masks)
        total = sum(
            int(segment.lengths[mask].sum()) for segment, mask in zip(self.segments, masks, strict=True)
        )
        slope, offset = np.float32(K1 * B * count / total if total else 0), np.float32(K1 * (1 - B))
        norms = [segment.lengths.astype(np.float32) * slope + offset for segment in self.segments]
        seen = [None if mask.all() else mask for mask in masks]
        return _View(self._version, allowed, len(self._permissions), seen, norms, count)


def _bound(score: Array, k: int) -> float:
    """Return a score that the `k` best reach, and few others: the k-th of the maxima of 64 scores each.

    Faster than a partition of all scores, of which a common word leaves few at zero.
    """
    columns = len(score) // ROWS_OF_MAXIMA
    if columns <= k:
        return 0.0
    maxima = score[: columns * ROWS_OF_MAXIMA].reshape(ROWS_OF_MAXIMA, columns).max(axis=0)
    return float(np.partition(maxima, -k)[-k])


def _open(occurrences: tuple[Array, Array], seen: Array | None) -> tuple[Array, Array]:
    """Return those of the occurrences that are in chunks which may be seen."""
    if seen is None:
        return occurrences
    chunks, counts = occurrences
    chosen = np.flatnonzero(seen.take(chunks, mode="clip"))
    return chunks[chosen], counts[chosen]
