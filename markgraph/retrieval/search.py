"""Asks an index for what a caller may read, and refines what was found."""

from collections.abc import Sequence
from dataclasses import dataclass

from markgraph.errors import ConfigError, EmptyIndexError
from markgraph.retrieval.diversity import Diversity
from markgraph.retrieval.neighbours import Neighbours
from markgraph.retrieval.rerank import Reranker, rerank
from markgraph.retrieval.types import Hit, Index
from markgraph.security.caller import Caller
from markgraph.security.permissions import may_read


def find_hits(index: Index, query: str, caller: Caller, k: int) -> list[Hit]:
    """Return at most `k` hits for `query`, best first; the permissions of each are checked once more.

    Raises:
        DeniedError: the caller is nobody.
        EmptyIndexError: nothing was ever ingested.
    """
    hits = index.search(query, caller, k)
    if not hits and not len(index):
        raise EmptyIndexError("Nothing has been ingested yet. Run `markgraph ingest FOLDER` first.")
    return [hit for hit in hits if may_read(caller, hit.chunk.permissions)]


@dataclass(frozen=True)
class Refine:
    """Orders hits anew, spreads them, and widens them; each step may be left out."""

    candidates: int = 50
    """How many hits take part; more is better and slower."""
    reranker: Reranker | None = None
    diversity: Diversity | None = None
    neighbours: Neighbours | None = None

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ConfigError(f"rerank.candidates is {self.candidates}; allowed: 1 or more.")

    def __call__(self, hits: Sequence[Hit], query: str, index: Index, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` of `hits`, best first, with neighbours that don't count."""
        best = list(hits)
        if self.reranker and best:
            best = rerank(best, query, self.reranker, index.name)
        best = self.diversity(best, k) if self.diversity else best[:k]
        if self.neighbours:
            best = self.neighbours(best, index, caller)
        return [hit for hit in best if may_read(caller, hit.chunk.permissions)]


def find_refined(index: Index, query: str, caller: Caller, k: int, refine: Refine | None) -> list[Hit]:
    """Return at most `k` hits for `query`, best first, refined if asked for; see `find_hits`."""
    if not refine:
        return find_hits(index, query, caller, k)
    hits = find_hits(index, query, caller, max(k, refine.candidates))
    return refine(hits, query, index, caller, k)
