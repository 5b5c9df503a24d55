"""Keeps a citation graph in step with an index."""

from collections.abc import Sequence
from dataclasses import dataclass

from markgraph.citations.link import nodes_of
from markgraph.citations.types import CitationGraph
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.types import Chunk, Hit, Index, Vectors
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions


@dataclass(frozen=True)
class CitedIndex:
    """An index that tells a graph what each passage cites, and what it can be cited as.

    The chunks of a document are to be added in one call: a reference may depend on what stands before it.
    """

    index: Index
    citations: CitationGraph

    @property
    def name(self) -> str:
        """Return what results call it."""
        return self.index.name

    @property
    def embedder(self) -> Embedder | None:
        """Return what chunks are embedded with; None where there are no vectors."""
        return self.index.embedder

    @property
    def stores(self) -> tuple[str, ...]:
        """Return what the index writes to."""
        return self.index.stores

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:
        """Store `chunks`, then what they cite."""
        self.index.add(chunks, vectors)
        self.citations.add(nodes_of(chunks))

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids, first what they cite."""
        self.citations.remove(ids)
        self.index.remove(ids)

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids; the graph knows of no permissions."""
        self.index.permit(ids, permissions)

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read, best first."""
        return self.index.search(query, caller, k)

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`."""
        return self.index.get(ids, caller)

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them."""
        return self.index.scan(after, limit)

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
        return len(self.index)


def with_citations(index: Index, citations: CitationGraph | None) -> Index:
    """Return `index`, keeping `citations` in step where there is such a graph."""
    return CitedIndex(index, citations) if citations is not None else index


def relink(index: Index, citations: CitationGraph) -> None:
    """Build the graph of an index anew; meanwhile citations lead nowhere. No vectors are computed.

    Holds every chunk in memory: those of a document may lie anywhere in the order of their ids.
    """
    chunks: list[Chunk] = []
    while page := index.scan(chunks[-1].id if chunks else ""):
        chunks += page
    citations.clear()
    citations.add(nodes_of(chunks))
