"""Changes an index and its ledger in an order that a kill at any moment can't hurt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markgraph.audit.journal import acting
from markgraph.ingestion.ledger import Ledger
from markgraph.ingestion.prepare import Prepared
from markgraph.models.registry import Registry
from markgraph.retrieval.types import Index, Vectors
from markgraph.security.classification import CLASSIFICATIONS
from markgraph.security.permissions import Permissions


@dataclass(frozen=True)
class Store:
    """An index, the ledger of what is in it, and the models that may have learned from that."""

    index: Index
    ledger: Ledger
    models: Registry | None = None
    """Whoever loses a document loses the models that learned from it, too; None: there are none."""

    def write(self, tenant: str, scope: str, documents: Sequence[tuple[Prepared, str]]) -> None:
        """Put documents into the index, each under its fingerprint, in place of their earlier versions.

        All chunks of a document are added at once: what they cite may depend on what stands before them.

        Args:
            tenant: whose they are.
            scope: the name of the corpus that they belong to.
            documents: with the fingerprint of each.
        """
        _take_down(scope, "write", {document.source: fingerprint for document, fingerprint in documents})
        self._note(tenant, {document.source: document.permissions for document, _ in documents})
        outdated = self.ledger.begin(tenant, scope, [document for document, _ in documents])
        vectors = _joined([document.vectors for document, _ in documents if document.vectors])
        self.index.add([chunk for document, _ in documents for chunk in document.chunks], vectors)
        self.index.remove([id_ for _, id_ in outdated])
        self.ledger.finish(tenant, documents, outdated)

    def permit(self, tenant: str, scope: str, sources: Sequence[str], permissions: Permissions) -> None:
        """Change who may read documents."""
        readers = ",".join((*permissions.readers, CLASSIFICATIONS[permissions.classification]))
        _take_down(scope, "permit", dict.fromkeys(sources, readers))
        self._note(tenant, dict.fromkeys(sources, permissions))
        self.ledger.permit(tenant, scope, sources, None)
        self.index.permit(self.ledger.chunks(tenant, sources), permissions)
        self.ledger.permit(tenant, scope, sources, permissions)

    def remove(self, tenant: str, sources: Sequence[str]) -> None:
        """Take documents out."""
        _take_down("*", "remove", dict.fromkeys(sources, ""))
        self._note(tenant, dict.fromkeys(sources))
        self.index.remove(self.ledger.chunks(tenant, sources))
        self.ledger.forget(tenant, sources)

    def _note(self, tenant: str, changed: Mapping[str, Permissions | None]) -> None:
        """Tell the models first: after a kill in between, what is told twice does no harm."""
        if self.models:
            self.models.note(tenant, changed)


def _take_down(scope: str, what: str, documents: dict[str, str]) -> None:
    """Tell the audit log, where a run has one, before anything is changed."""
    if documents and (journal := acting()):
        journal.wrote(scope, what, documents)


def _joined(each: Sequence[Vectors]) -> Vectors | None:
    """Return the vectors of several documents, all made by one embedder, as one."""
    if not each:
        return None
    return Vectors(each[0].embedder, {id_: vector for one in each for id_, vector in one.by_id.items()})
