"""Walks a corpus in steps: the state of a graph can hold a place in a listing, not an open one."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from markgraph.batches import batches
from markgraph.ingestion.corpora import Corpus, Item
from markgraph.ingestion.plan import Plan

LOOKED_AT = 256
"""Documents that are looked up in the plan at a time, at most."""

KEPT = 4
"""Runs whose listings are kept open; the oldest may have been given up."""


@dataclass
class Listing:
    """Takes the documents that a run has still to read off the corpus.

    An open listing is kept from one step to the next only because opening one again takes time.
    """

    corpus: Corpus
    _open: dict[tuple[str, int], Iterator[Item]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, plan: Plan, place: int, size: int) -> tuple[dict[str, tuple[Item, str]], int | None]:
        """Return at least `size` items that are pending, with their fingerprints, and the place behind them.

        The place is None, and there may be fewer items, where the corpus has come to its end.
        """
        with self._lock:
            items = self._open.pop((plan.run, place), None)
        if items is None:
            items = islice(self.corpus.items(), place, None)
        taken: dict[str, tuple[Item, str]] = {}
        for page in batches(items, min(LOOKED_AT, size)):
            place += len(page)
            pending = plan.take([item.source for item in page])
            for item in page:
                if item.source in pending:
                    taken[item.source] = item, pending.pop(item.source)
            if len(taken) >= size:
                self._keep(plan.run, place, items)
                return taken, place
        return taken, None

    def _keep(self, run: str, place: int, items: Iterator[Item]) -> None:
        with self._lock:
            self._open[run, place] = items
            while len(self._open) > KEPT:
                del self._open[next(iter(self._open))]
