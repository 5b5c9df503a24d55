"""Finds chunks by their words, with rank-bm25 over an SQLite file: for up to some 10,000 chunks."""

import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from math import log1p
from typing import Any

from markgraph.retrieval.chunk_rows import permissions_since
from markgraph.retrieval.chunk_store import ChunkStore
from markgraph.retrieval.types import Hit
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import may_read

CACHED_VIEWS = 8
"""How many sets of permissions keep their word statistics in memory."""


@dataclass
class WordsIndex(ChunkStore):
    """Okapi BM25 (Robertson & Walker 1994) over stemmed words, weighed as Lucene weighs them.

    The statistics are made of the chunks that the caller may read, and of no others: what is
    not permitted can't be found, can't push out what is, and can't be guessed from a score.
    They are made at the first search of each set of permissions, and again after a write;
    `markgraph.retrieval.bm25s` keeps up with larger collections, and reads the same file.
    """

    _views: "OrderedDict[tuple[str, ...], _View]" = field(
        default_factory=OrderedDict, init=False, repr=False, compare=False
    )
    _version: int = field(default=-1, init=False, repr=False, compare=False)

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read and that share a word with `query`."""
        readers_of(caller)  # nobody is refused, found or not
        if not self.path.exists():
            return []
        with self._reading() as database:
            view = self._view(database, caller)
        scores = dict(view.search(self._terms(query, caller.tenant), k))
        with self._reading() as database:  # what was removed meanwhile is not there any more
            hits = [
                Hit(chunk, scores[position]) for position, chunk in self._stored_at(database, list(scores))
            ]
        return [hit for hit in hits if may_read(caller, hit.chunk.permissions)]

    def _written(self, tenants: Collection[str]) -> None:
        with self._lock:
            for key in [key for key in self._views if key[0] in tenants]:
                del self._views[key]

    def _view(self, database: sqlite3.Connection, caller: Caller) -> "_View":
        version = database.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:  # another process has written
            self._views.clear()
            self._version = version
        key = (caller.tenant, str(caller.clearance), *sorted(set(readers_of(caller))))
        if key not in self._views:
            self._views[key] = _load(database, caller)
        self._views.move_to_end(key)
        while len(self._views) > CACHED_VIEWS:
            self._views.popitem(last=False)
        return self._views[key]


def _load(database: sqlite3.Connection, caller: Caller) -> "_View":
    """Read the words, and nothing else, of what `caller` may read."""
    rows: list[tuple[int, str]] = []
    for number, permissions in permissions_since(database, caller.tenant, 0).items():
        if may_read(caller, permissions):
            rows += database.execute("SELECT position, words FROM chunks WHERE permission = ?", (number,))
    rows.sort()
    return _View([position for position, _ in rows], [stems.split() for _, stems in rows])


class _View:
    """Word statistics over the chunks that one set of permissions opens."""

    def __init__(self, positions: list[int], stems: list[list[str]]) -> None:
        self._positions = positions
        self._bm25 = _okapi(stems) if any(stems) else None  # rank-bm25 divides by the corpus size

    def search(self, query: list[str], k: int) -> list[tuple[int, float]]:
        """Return the positions and scores of at most `k` chunks that share a word with `query`."""
        if self._bm25 is None:
            return []
        scores = self._bm25.get_scores(query)
        matching = [
            at for at, counts in enumerate(self._bm25.doc_freqs) if not counts.keys().isdisjoint(query)
        ]
        best = sorted(matching, key=lambda at: -scores[at])[:k]
        return [(self._positions[at], float(scores[at])) for at in best]


def _okapi(stems: list[list[str]]) -> Any:
    """Return rank-bm25's statistics, with weights that no word makes a chunk worse by.

    Its own are below 0 for words in more than half of the chunks. It lifts them to a part of the mean, which
    is below 0 as well where most words are such: in a few chunks, which may be all that a caller may read.
    """
    from rank_bm25 import BM25Okapi

    bm25 = BM25Okapi(stems)
    found = Counter(stem for counts in bm25.doc_freqs for stem in counts)
    bm25.idf = {stem: log1p((len(stems) - n + 0.5) / (n + 0.5)) for stem, n in found.items()}
    return bm25
