"""Fuses several indexes into one ranking."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ClassVar

from markgraph.errors import ConfigError
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.fusion import Convex, Fusion
from markgraph.retrieval.types import Chunk, Hit, Index, Place, Vectors
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions


@dataclass
class HybridIndex:
    """Asks each part, and ranks chunks by what the fusion makes of their scores.

    The parts are written one after the other. Where that was interrupted, they differ in who may read a
    chunk: it is found by those whom every part lets read it.
    """

    parts: Sequence[Index]
    depth: int = 50
    """How many hits of each part take part in the fusion, at least."""
    fusion: Fusion = field(default_factory=Convex)
    name: ClassVar[str] = "hybrid"

    def __post_init__(self) -> None:
        """Refuse a hybrid of nothing, and a fusion that looks at no hit."""
        listed = isinstance(self.parts, list | tuple) and all(hasattr(each, "search") for each in self.parts)
        if not listed or not self.parts:
            raise ConfigError(f"index.parts is {self.parts!r}; allowed: a list of one index or more.")
        if self.depth < 1:
            raise ConfigError(f"index.depth is {self.depth}; allowed: 1 or more.")

    @property
    def embedder(self) -> Embedder | None:
        """Return what the first part by meaning embeds with; None where there is none."""
        return next((part.embedder for part in self.parts if part.embedder), None)

    @property
    def stores(self) -> tuple[str, ...]:
        """Return what its parts write to."""
        return tuple(store for part in self.parts for store in part.stores)

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
        asked = max(k, self.depth)
        found = self._ask(query, caller, asked)
        places: defaultdict[str, list[Place]] = defaultdict(list)
        chunks: dict[str, Chunk] = {}
        for part, hits in zip(self.parts, found, strict=True):
            for rank, hit in enumerate(hits, start=1):
                places[hit.chunk.id].append(Place(part.name, rank, hit.score))
                chunks[hit.chunk.id] = hit.chunk
        seen = [{hit.chunk.id: hit.score for hit in hits} for hits in found]
        scores = self.fusion(seen, asked)
        rest = sorted(scores, key=lambda id_: (-scores[id_], id_))
        best: list[str] = []
        while rest and len(best) < k:
            looked, rest = rest[: k - len(best)], rest[k - len(best) :]
            best += self._readable(looked, seen, caller)
        return [Hit(chunks[id_], scores[id_], tuple(places[id_])) for id_ in best]

    def _readable(
        self, ids: Sequence[str], seen: Sequence[Mapping[str, float]], caller: Caller
    ) -> Sequence[str]:
        """Return those of `ids` that every part lets `caller` read, whether it found them or not."""
        for part, mine in zip(self.parts, seen, strict=True):
            asked = [id_ for id_ in ids if id_ not in mine]
            there = {chunk.id for chunk in part.get(asked, caller)} if asked else set()
            ids = [id_ for id_ in ids if id_ in mine or id_ in there]
        return ids

    def _ask(self, query: str, caller: Caller, k: int) -> list[list[Hit]]:
        """Return what each part finds; all are asked at the same time, the first in this thread."""
        if len(self.parts) < 2:
            return [part.search(query, caller, k) for part in self.parts]
        first, *others = self.parts
        with ThreadPoolExecutor(len(others)) as pool:
            asked = [pool.submit(part.search, query, caller, k) for part in others]
            return [first.search(query, caller, k), *(future.result() for future in asked)]

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not: as many as `scan` gives."""
        return len(self.parts[0])
