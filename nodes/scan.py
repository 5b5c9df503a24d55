"""Finds out what an ingestion has to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from langgraph.runtime import Runtime

from markgraph.errors import EmptyCorpusError
from markgraph.ingestion.corpora import Corpus, Item
from markgraph.ingestion.ledger import Ledger
from markgraph.security.caller import Caller, caller_of
from markgraph.state import IngestState


@dataclass
class Listing:
    """The documents of a corpus as the last scan found them."""

    corpus: Corpus
    _items: dict[str, Item] = field(default_factory=dict)

    def renew(self) -> list[Item]:
        """List the corpus anew."""
        self._items = {item.source: item for item in self.corpus.items()}
        return list(self._items.values())

    def __getitem__(self, source: str) -> Item:
        return self._items[source]


@dataclass(frozen=True)
class Scan:
    """Compares the corpus with what was ingested before."""

    listing: Listing
    ledger: Ledger
    readers: Sequence[str]
    settings: str
    """Whatever else decides what is stored: a document is read again when it changes."""

    def __call__(self, state: IngestState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return what is to be read and what has left.

        Raises:
            EmptyCorpusError: nothing is there, and nothing was.
        """
        tenant, corpus = caller_of(runtime).tenant, self.listing.corpus
        known = self.ledger.sources(tenant, corpus.name)
        try:
            items = self.listing.renew()
        except EmptyCorpusError:
            if not known:
                raise
            items = []
        kept = [item.source for item in items if self._is_kept_by_another(tenant, item.source)]
        mine = [item for item in items if item.source not in kept]
        pending = [item.source for item in mine if self._has_changed(tenant, item)]
        here = {item.source for item in items}
        return {
            "pending": pending[: state.get("limit")],
            "gone": [source for source in known if source not in here],
            "unchanged": len(mine) - len(pending),
            "removed": [],
            "skipped": [*corpus.skipped(), *kept] if items else [],
        }

    def _has_changed(self, tenant: str, item: Item) -> bool:
        return self.ledger.fingerprint(tenant, item.source) != fingerprint(item, self.settings)

    def _is_kept_by_another(self, tenant: str, source: str) -> bool:
        """Tell whether a part of this corpus was ingested by itself, for other readers: it stays theirs."""
        known = self.ledger.known(tenant, source)
        if known is None:
            return False
        scope, readers = known
        within = scope.startswith(f"{self.listing.corpus.name}/")
        return within and sorted(readers) != sorted(self.readers)


def fingerprint(item: Item, settings: str) -> str:
    """Return what a document must have been ingested under to count as unchanged."""
    return sha256(f"{item.fingerprint}\0{settings}".encode()).hexdigest()
