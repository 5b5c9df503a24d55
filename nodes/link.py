"""Puts the graph of citations in step with an index that was filled without it."""

from dataclasses import dataclass
from typing import Any

from markgraph.citations.index import relink
from markgraph.citations.types import CitationGraph
from markgraph.ingestion.ledger import Ledger
from markgraph.retrieval.types import Index
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, writing
from markgraph.state import IngestState


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED, Effect.STORES)
@dataclass(frozen=True)
class Link:
    """Links everything anew where the graph and the index hold different numbers of passages.

    So it is after an upgrade, or where an ingestion was killed between the two. The ledger is asked first:
    to open an index of vectors takes seconds.
    """

    citations: CitationGraph
    index: Index
    ledger: Ledger
    corpus: str
    """Its name, which a permission may be limited to."""

    def needs(self, state: IngestState) -> list[Need]:  # noqa: ARG002
        """Return the permission to change documents."""
        return [writing(self.corpus)]

    def __call__(self, state: IngestState) -> dict[str, Any]:  # noqa: ARG002 -- a node has a state
        """Change nothing of the state."""
        linked = len(self.citations)
        if linked != len(self.ledger) and linked != len(self.index):
            relink(self.index, self.citations)
        return {}
