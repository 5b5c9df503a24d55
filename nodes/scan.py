"""Finds out what an ingestion has to do."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from langgraph.runtime import Runtime

from markgraph.retrieval.corpora import Corpus, Item
from markgraph.retrieval.ledger import Ledger
from markgraph.security.caller import Caller, caller_of
from markgraph.state import IngestState


@dataclass(frozen=True)
class Scan:
    """Compares the corpus with what was ingested before."""

    corpus: Corpus
    ledger: Ledger
    settings: str
    """Whatever else decides what is stored: a document is read again when it changes."""

    def __call__(self, state: IngestState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return what is to be read and what has left."""
        tenant = caller_of(runtime).tenant
        items = list(self.corpus.items())
        pending = [
            item.source
            for item in items
            if self.ledger.fingerprint(tenant, item.source) != fingerprint(item, self.settings)
        ]
        here = {item.source for item in items}
        known = self.ledger.sources(tenant, self.corpus.name)
        return {
            "pending": pending[: state.get("limit")],
            "gone": [source for source in known if source not in here],
            "unchanged": len(items) - len(pending),
            "removed": [],
            "skipped": [str(path) for path in self.corpus.skipped()],
        }


def fingerprint(item: Item, settings: str) -> str:
    """Return what a document must have been ingested under to count as unchanged."""
    return sha256(f"{item.fingerprint}\0{settings}".encode()).hexdigest()
