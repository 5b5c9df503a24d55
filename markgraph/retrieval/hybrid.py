"""Fuses several indexes into one ranking."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.types import Chunk, Hit, Index, Place, Vectors
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions

RANK_CONSTANT = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke & Büttcher 2009)."""


@dataclass
class HybridIndex:
    """Asks each part, and ranks a chunk by the sum of 1 / (60 + its rank in each)."""

    parts: Sequence[Index]
    depth: int = 50
    """How many hits of each part take part in the fusion."""
    name: ClassVar[str] = "hybrid"

    @property
    def embedder(self) -> Embedder | None:
        """Return what the first part by meaning embeds with; None where there is none."""
        return next((part.embedder for part in self.parts if part.embedder), None)

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:
        """Store `chunks` in every part."""
        for part in self.parts:
            part.add(chunks, vectors)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids in every part."""
        for part in self.parts:
            part.remove(ids)

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids, in every part."""
        for part in self.parts:
            part.permit(ids, permissions)

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`."""
        return self.parts[0].get(ids, caller)

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them."""
        return self.parts[0].scan(after, limit)

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read, best first."""
        places: defaultdict[str, list[Place]] = defaultdict(list)
        chunks: dict[str, Chunk] = {}
        for part in self.parts:
            for rank, hit in enumerate(part.search(query, caller, max(k, self.depth)), start=1):
                places[hit.chunk.id].append(Place(part.name, rank, hit.score))
                chunks[hit.chunk.id] = hit.chunk
        scores = {
            id_: sum(1.0 / (RANK_CONSTANT + place.rank) for place in seen) for id_, seen in places.items()
        }
        best = sorted(scores, key=lambda id_: (-scores[id_], id_))[:k]
        return [Hit(chunks[id_], scores[id_], tuple(places[id_])) for id_ in best]

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
        return max((len(part) for part in self.parts), default=0)
