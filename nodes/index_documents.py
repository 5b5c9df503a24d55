"""Reads, chunks and indexes some documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from markgraph.errors import DocumentError
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.ledger import Ledger
from markgraph.nodes.scan import Listing, fingerprint
from markgraph.retrieval.types import Chunk, Index
from markgraph.security.caller import Caller, caller_of
from markgraph.security.permissions import Permissions
from markgraph.state import Failure, IngestState


@dataclass(frozen=True)
class IndexDocuments:
    """Takes the next documents through to the index; one that can't be read is reported and passed over.

    The ledger is written before and after the index, so a kill in between costs a second reading
    of these documents and nothing else.
    """

    listing: Listing
    chunker: Chunker
    index: Index
    ledger: Ledger
    settings: str
    readers: Sequence[str]
    """Reader atoms of every document of this corpus."""
    batch_size: int = 8

    def __call__(self, state: IngestState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return what became of the next `batch_size` documents."""
        tenant = caller_of(runtime).tenant
        sources = state["pending"][: self.batch_size]
        read: dict[str, list[Chunk]] = {}
        failed: list[Failure] = []
        for source in sources:
            try:
                read[source] = self._chunks(source, tenant)
            except DocumentError as error:
                self._withdraw(tenant, source)
                failed.append(Failure(source=source, reason=str(error)))
        known = {source for source in read if self.ledger.fingerprint(tenant, source) is not None}
        self._store(tenant, read)
        return {
            "pending": state["pending"][self.batch_size :],
            "added": [source for source in read if source not in known],
            "changed": [source for source in read if source in known],
            "failed": failed,
            "chunks": sum(map(len, read.values())),
        }

    def _chunks(self, source: str, tenant: str) -> list[Chunk]:
        document = self.listing[source].load()
        return self.chunker(document, Permissions(tenant, tuple(self.readers)))

    def _store(self, tenant: str, read: dict[str, list[Chunk]]) -> None:
        outdated = {
            source: self.ledger.begin(
                tenant, source, self.listing.corpus.name, self.readers, [chunk.id for chunk in chunks]
            )
            for source, chunks in read.items()
        }
        self.index.add([chunk for chunks in read.values() for chunk in chunks])
        self.index.remove([id_ for ids in outdated.values() for id_ in ids])
        for source, ids in outdated.items():
            mark = fingerprint(self.listing[source], self.settings)
            self.ledger.finish(tenant, source, mark, ids)

    def _withdraw(self, tenant: str, source: str) -> None:
        """Take the last good version of an unreadable document away, if others may read it now."""
        known = self.ledger.known(tenant, source)
        if known and sorted(known[1]) != sorted(self.readers):
            self.index.remove(self.ledger.chunks(tenant, source))
            self.ledger.forget(tenant, source)
