"""Finds chunks by meaning, in an embedded Chroma."""

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import Protocol, runtime_checkable  # typing's own would read the weights, in 3.11

from markgraph.errors import ConfigError, StorageError
from markgraph.retrieval.storage import storage_errors
from markgraph.retrieval.types import Chunk, Hit, permitted_as
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions, may_read

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

COLLECTION = "chunks"
NOBODY = "nobody"
"""An atom that nobody holds: Chroma refuses empty lists."""
BATCH = 256
"""Chunks a write; Chroma's own limit is a few thousand."""


@runtime_checkable
class Embedder(Protocol):
    """What an index needs of an embedder, beyond LangChain's `Embeddings`: a name, and how much it reads."""

    @property
    def name(self) -> str:
        """Return the same name for the same vectors."""

    @property
    def context_tokens(self) -> int:
        """Return how many tokens of a text it reads; it ignores the rest."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Return how many tokens each text takes, with those that mark its beginning and its end."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question."""


@dataclass
class ChromaIndex:
    """Cosine similarity over vectors that we compute; Chroma is never given an embedding function.

    Chroma opens at the first use. Permissions are part of the query, and every hit is checked again.
    """

    path: Path
    embedder: Embedder
    name: str = "dense"
    """What results call it."""
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)
    _opened: "Collection | None" = field(default=None, init=False, repr=False, compare=False)
    _version: int = field(default=-1, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()
        if not isinstance(self.embedder, Embedder):
            raise ConfigError(
                f"The embedder is a {type(self.embedder).__name__}, which lacks `name`, `context_tokens` or "
                "`count_tokens`. An index remembers by name which embedder made its vectors, and chunks are "
                "cut to what it reads: subclass yours and add them."
            )

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Store `chunks`; one that is there already is replaced, with its permissions."""
        unique = list({chunk.id: chunk for chunk in chunks}.values())
        with storage_errors(self.path), self._lock:
            for begin in range(0, len(unique), BATCH):
                self._add(unique[begin : begin + BATCH])

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids; unknown ids are ignored."""
        if not ids or not self.path.exists():
            return
        with storage_errors(self.path), self._lock:
            for begin in range(0, len(ids), BATCH):
                self._collection.delete(ids=list(ids[begin : begin + BATCH]))

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids, from the next search on; unknown ids are ignored."""
        changed = [permitted_as(chunk, permissions) for chunk in self._stored(ids)]
        with storage_errors(self.path), self._lock:
            for begin in range(0, len(changed), BATCH):
                batch = changed[begin : begin + BATCH]
                self._collection.update(
                    ids=[chunk.id for chunk in batch], metadatas=[_to_metadata(chunk) for chunk in batch]
                )

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`."""
        readers_of(caller)  # nobody is refused, found or not
        return [chunk for chunk in self._stored(ids) if may_read(caller, chunk.permissions)]

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them."""
        if not self.path.exists():
            return []
        with storage_errors(self.path), self._lock:
            ids = sorted(id_ for id_ in self._collection.get(include=[])["ids"] if id_ > after)
        return self._stored(ids[:limit])

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read, nearest first; the score is the cosine."""
        where = permitted(caller)
        if not len(self):
            return []
        with storage_errors(self.path), self._lock:
            found = self._collection.query(
                query_embeddings=[_vector(self.embedder.embed_query(query))],
                n_results=min(k, self._collection.count()),
                where=where,
                include=["documents", "metadatas", "distances"],
            )
        rows = zip(
            (found["documents"] or [[]])[0],
            (found["metadatas"] or [[]])[0],
            (found["distances"] or [[]])[0],
            strict=True,
        )
        hits = [Hit(_to_chunk(text, metadata), 1.0 - distance) for text, metadata, distance in rows]
        return [hit for hit in hits if may_read(caller, hit.chunk.permissions)]

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
        if not self.path.exists():
            return 0
        with storage_errors(self.path), self._lock:
            return self._collection.count()

    def _stored(self, ids: Sequence[str]) -> list[Chunk]:
        """Return the chunks with these ids, in their order, whoever may read them."""
        if not ids or not self.path.exists():
            return []
        found: dict[str, Chunk] = {}
        with storage_errors(self.path), self._lock:
            for begin in range(0, len(ids), BATCH):
                rows = self._collection.get(
                    list(dict.fromkeys(ids[begin : begin + BATCH])), include=["documents", "metadatas"]
                )
                pairs = zip(rows["ids"], rows["documents"] or [], rows["metadatas"] or [], strict=True)
                found |= {id_: _to_chunk(text, metadata) for id_, text, metadata in pairs}
        return [found[id_] for id_ in ids if id_ in found]

    def _add(self, chunks: Sequence[Chunk]) -> None:
        vectors = self.embedder.embed_documents([_embedded_text(chunk) for chunk in chunks])
        self._collection.upsert(
            ids=[chunk.id for chunk in chunks],
            embeddings=[_vector(vector) for vector in vectors],
            documents=[chunk.text for chunk in chunks],
            metadatas=[_to_metadata(chunk) for chunk in chunks],
        )

    @property
    def _collection(self) -> "Collection":
        """Return the collection, opened anew when another process has written to it.

        Chroma keeps its vectors in memory and does not notice; a search then fails on ids it lacks.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        version = self._watch.execute("PRAGMA data_version").fetchone()[0]
        if self._opened is None or version != self._version:
            self._opened = self._open()
            version = self._watch.execute("PRAGMA data_version").fetchone()[0]
        self._version = version
        return self._opened

    @cached_property
    def _watch(self) -> sqlite3.Connection:
        """A connection of our own to Chroma's file: it sees every write that is not its own."""
        return sqlite3.connect(self.path / "chroma.sqlite3", check_same_thread=False, timeout=30)

    def _open(self) -> "Collection":
        import chromadb
        from chromadb.api.shared_system_client import SharedSystemClient
        from chromadb.config import Settings
        from chromadb.errors import NotFoundError

        SharedSystemClient.clear_system_cache()
        settings = Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(path=str(self.path), settings=settings)
        try:
            collection = client.get_collection(COLLECTION, embedding_function=None)
        except NotFoundError:
            return client.create_collection(
                COLLECTION,
                embedding_function=None,
                configuration={"hnsw": {"space": "cosine"}},
                metadata={"embedder": self.embedder.name},
            )
        built_with = (collection.metadata or {}).get("embedder")
        if built_with != self.embedder.name:
            raise StorageError(
                f"The index in {self.path} was built with embedder {built_with!r}; "
                f"the config asks for {self.embedder.name!r}. Ingest again into another collection "
                "(collection=NAME), or choose the embedder it was built with."
            )
        return collection


def permitted(caller: Caller) -> dict[str, Any]:
    """Return the Chroma filter for what `caller` may read, positive operators only.

    Raises:
        DeniedError: when the caller is nobody.
    """
    readers = [{"readers": {"$contains": atom}} for atom in readers_of(caller)]
    cleared = {"classification": {"$lte": caller.clearance}}
    return {"$and": [{"tenant": caller.tenant}, cleared, {"$or": readers}]}


def _vector(values: Sequence[float]) -> "np.ndarray":
    return np.asarray(values, dtype=np.float32)  # (d,)


def _embedded_text(chunk: Chunk) -> str:
    """Return the chunk under its headings, so that a paragraph knows what it is about."""
    return "\n".join((*chunk.heading, chunk.text)) if chunk.heading else f"{chunk.title}\n{chunk.text}"


def _to_metadata(chunk: Chunk) -> dict[str, Any]:
    described = {
        "source": chunk.source,
        "title": chunk.title,
        "start": chunk.start,
        "end": chunk.end,
        "tenant": chunk.tenant,
        "heading": json.dumps(chunk.heading),
        "page_breaks": json.dumps(chunk.page_breaks),
        "classification": chunk.classification,
        "before": chunk.before,
        "after": chunk.after,
        "metadata": json.dumps(chunk.metadata),
        "readers": list(chunk.readers) or [NOBODY],
    }
    return described | ({"page": chunk.page} if chunk.page is not None else {})


def _to_chunk(text: str, metadata: Mapping[str, Any]) -> Chunk:
    return Chunk(
        text=text,
        source=metadata["source"],
        title=metadata["title"],
        start=metadata["start"],
        end=metadata["end"],
        heading=tuple(json.loads(metadata["heading"])),
        page=metadata.get("page"),
        page_breaks=tuple(json.loads(metadata["page_breaks"])),
        tenant=metadata["tenant"],
        readers=tuple(atom for atom in metadata["readers"] if atom != NOBODY),
        classification=metadata["classification"],
        before=metadata["before"],
        after=metadata["after"],
        metadata=json.loads(metadata["metadata"]),
    )
