"""Searches a Chroma collection for what a caller may read, wherever Chroma runs.

Chroma's own filter takes time that grows with the collection (0.36 s for 10 groups among 100,000 chunks), so
it comes last: the nearest neighbours are taken without it, and of those the permitted ones. Only where
these are too few are the permitted chunks listed and compared, however many there are. Ids and distances
are all that is ever taken of a chunk before its permissions are known.

Does NOT hide how long that takes: a slower search can mean that many chunks near the question are not for
this caller. `neighbours=0` lists the permitted chunks first each time.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Collection as Some
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from markgraph.batches import batches
from markgraph.errors import ShreddedError
from markgraph.retrieval.bodies import readable
from markgraph.retrieval.chroma_records import permissions_in, permitted
from markgraph.retrieval.chroma_reseal import ChromaRecords
from markgraph.retrieval.dense import BATCH, Embedder, check_built_with, cosines, embed, embed_query
from markgraph.retrieval.reach import Reach
from markgraph.retrieval.types import Chunk, Hit, Vectors, permitted_as
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions, may_read

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

COLLECTION = "chunks"
EXACT = 1000
"""Up to so many permitted chunks are compared one by one; Chroma's graph is slow to find few among many."""

EXACT_AT_MOST = 20_000
"""... and up to so many where the graph leads nowhere."""
LEAST = 10
WINDOW = 100
"""Chroma's graph looks at so many for any question (its `ef_search`); they tell where it got to."""


class ChromaBase(ChromaRecords):
    """Cosine similarity over vectors that we compute; Chroma is never given an embedding function."""

    embedder: Embedder
    generation: str
    neighbours: int

    @property
    @abstractmethod
    def _store(self) -> str:
        """Return `KIND:PLACE`, as `stores` does."""

    @property
    def stores(self) -> tuple[str, ...]:
        """Return the one store that is written to."""
        return (self._store,)

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:
        """Store `chunks`; one that is there already is replaced, with its permissions."""
        with self._reading():
            pass  # refuses another embedder's vectors before any are made
        for batch in batches({chunk.id: chunk for chunk in chunks}.values(), BATCH):
            embedded = list(embed(batch, self.embedder, vectors))
            with self._writing() as collection:
                collection.upsert(
                    ids=[chunk.id for chunk in batch],
                    embeddings=embedded,
                    documents=[self._records.text(chunk) for chunk in batch],
                    metadatas=[self._records.metadata(chunk) for chunk in batch],
                )

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids; unknown ids are ignored."""
        if not ids or not len(self):
            return
        with self._writing() as collection:
            for batch in batches(ids, BATCH):
                collection.delete(ids=batch)

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids, from the next search on; unknown ids are ignored."""
        changed = [permitted_as(chunk, permissions) for chunk in self._stored(ids)]
        if not changed:
            return
        with self._writing() as collection:
            for batch in batches(changed, BATCH):
                collection.update(
                    ids=[chunk.id for chunk in batch],
                    metadatas=[self._records.metadata(chunk) for chunk in batch],
                )

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`."""
        readers_of(caller)  # nobody is refused, found or not
        return [chunk for chunk in self._stored(ids) if may_read(caller, chunk.permissions)]

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them."""
        while True:
            with self._reading() as collection:
                ids = self._ids_after(collection, after, limit) if collection else []
            try:
                chunks = self._stored(ids)
            except ShreddedError:
                chunks = [chunk for each in readable([[id_] for id_ in ids], self._stored) for chunk in each]
            if chunks or not ids:
                return chunks
            after = ids[-1]

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read, nearest first; the score is the cosine."""
        readers_of(caller)  # nobody is refused, found or not
        with self._reading() as collection:
            if collection is None:
                return []
        vector = embed_query(query, self.embedder)
        with self._reading() as collection:
            if collection is None:
                return []
            scores = self._nearest(collection, vector, caller, k)
            chunks = self._chunks(collection, list(scores))
        return [
            Hit(chunks[id_], score)
            for id_, score in scores.items()
            if id_ in chunks and may_read(caller, chunks[id_].permissions)
        ]

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
        with self._reading() as collection:
            return collection.count() if collection else 0

    def generations(self) -> dict[str, str]:
        """Return the generations that are there, and the names of the embedders that made them."""
        with self._client_held() as client:
            found = client.list_collections() if client else []
        first = self._prefix
        metadata = {each.name: each.metadata or {} for each in found}
        return {
            name.removeprefix(first).removeprefix("-"): str(about.get("embedder"))
            for name, about in metadata.items()
            if name == first or name.startswith(f"{first}-")
        }

    def drop(self, generation: str) -> None:
        """Remove a generation; one that isn't there is ignored."""
        from chromadb.errors import NotFoundError

        with self._client_held() as client:
            if client:
                with suppress(NotFoundError):
                    client.delete_collection(self._named(generation))

    @abstractmethod
    def _client_held(self) -> "AbstractContextManager[ClientAPI | None]":
        """Hold a client, for this thread alone; None where nothing was ever stored."""

    @property
    def _prefix(self) -> str:
        """Return what the names of all generations begin with."""
        return COLLECTION

    @cached_property
    def _reach(self) -> Reach:
        return Reach(self.neighbours)

    def _stored(self, ids: Sequence[str]) -> list[Chunk]:
        """Return the chunks with these ids, in their order, whoever may read them."""
        with self._reading() as collection:
            found = self._chunks(collection, list(ids)) if collection and ids else {}
        return [found[id_] for id_ in ids if id_ in found]

    def _nearest(
        self, collection: "Collection", vector: np.ndarray, caller: Caller, k: int
    ) -> dict[str, float]:
        """Return the cosines of the `k` chunks nearest to `vector` that `caller` may read, by id."""
        group = group_of(caller)
        look = max(self._reach.first(group, k), LEAST)
        while look <= self.neighbours:
            wanted = max(look, min(WINDOW, self.neighbours))
            around = _query(collection, vector, wanted)
            if len(around) < wanted or _is_caught(around):  # that is all there is, or all that it came to
                return self._among_permitted(collection, vector, caller, k, exact=EXACT_AT_MOST)
            near = dict(islice(around.items(), look))
            mine = self._permitted_among(collection, list(near), caller)
            ranks = [(rank, id_) for rank, id_ in enumerate(near, start=1) if id_ in mine][:k]
            if ranks and len(ranks) == k:
                self._reach.learn(group, k, ranks[-1][0])
                return {id_: near[id_] for _, id_ in ranks}
            look = self._reach.further(look, len(ranks), k)
        self._reach.learn(group, k, None)
        return self._among_permitted(collection, vector, caller, k)

    def _among_permitted(
        self, collection: "Collection", vector: np.ndarray, caller: Caller, k: int, exact: int = EXACT
    ) -> dict[str, float]:
        """Do the same by comparing what `caller` may read, up to `exact` one by one: none is missed."""
        ids = self._permitted_ids(collection, caller)
        if len(ids) > exact and k < len(ids):
            found = _query(collection, vector, k, ids)
            if len(found) == k:
                return found
        scores: dict[str, float] = {}
        for batch in batches(ids, BATCH):
            rows = collection.get(batch, include=["embeddings"])
            if rows["ids"]:
                compared = cosines(np.asarray(rows["embeddings"], np.float32), vector).tolist()
                scores |= zip(rows["ids"], compared, strict=True)
        return {id_: scores[id_] for id_ in sorted(scores, key=lambda id_: (-scores[id_], id_))[:k]}

    def _chunks(self, collection: "Collection", ids: list[str]) -> dict[str, Chunk]:
        """Return the chunks with these ids, by id; unknown ids are left out."""
        found: dict[str, Chunk] = {}
        for batch in batches(dict.fromkeys(ids), BATCH):
            rows: Any = collection.get(batch, include=["documents", "metadatas"])
            records = zip(rows["ids"], rows["documents"], rows["metadatas"], strict=True)
            found |= {id_: self._records.chunk(id_, text, metadata) for id_, text, metadata in records}
        return found

    def _permitted_among(self, collection: "Collection", ids: list[str], caller: Caller) -> Some[str]:
        """Return those of `ids` that `caller` may read."""
        if not ids:
            return ()  # which Chroma would take for all
        rows = collection.get(ids, include=["metadatas"])
        pairs = zip(rows["ids"], rows["metadatas"] or [], strict=True)
        return {id_ for id_, metadata in pairs if may_read(caller, permissions_in(metadata))}

    def _permitted_ids(self, collection: "Collection", caller: Caller) -> list[str]:
        """Return the ids of everything that `caller` may read."""
        return collection.get(where=permitted(caller), include=[])["ids"]

    def _find(self, client: "ClientAPI") -> "Collection | None":
        """Return the collection of this generation, if there is one.

        Raises:
            StorageError: another embedder made its vectors.
        """
        from chromadb.errors import NotFoundError

        try:
            collection = client.get_collection(self._collection_name, embedding_function=None)
        except NotFoundError:
            return None
        check_built_with(self._place, (collection.metadata or {}).get("embedder"), self.embedder)
        if not self._is_resealing:
            self._check_sealed(collection)
        return collection

    def _create(self, client: "ClientAPI") -> "Collection":
        return client.create_collection(
            self._collection_name,
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine"}},
            metadata={"embedder": self.embedder.name},
        )

    @property
    def _collection_name(self) -> str:
        return self._named(self.generation)

    def _named(self, generation: str) -> str:
        return f"{self._prefix}-{generation}" if generation else self._prefix


def group_of(caller: Caller) -> Hashable:
    """Return the same for callers who may read the same."""
    return (caller.tenant, caller.clearance, *sorted(readers_of(caller)))


def _query(
    collection: "Collection", vector: np.ndarray, k: int, ids: list[str] | None = None
) -> dict[str, float]:
    """Return the cosines of the nearest chunks, nearest first, by id."""
    found = collection.query(query_embeddings=[vector], n_results=k, ids=ids, include=["distances"])
    distances = (found["distances"] or [[]])[0]
    return {id_: 1.0 - distance for id_, distance in zip(found["ids"][0], distances, strict=True)}


def _is_caught(around: dict[str, float]) -> bool:
    """Tell whether the search ended among copies of one text.

    A few hundred equal vectors are each other's nearest: the graph has hardly a way out.
    """
    scores = Counter(round(score, 6) for score in around.values())
    return 2 * max(scores.values()) >= len(around)
