"""Finds chunks by meaning, in an embedded Chroma."""

import shutil
import sqlite3
import threading
import weakref
from collections.abc import Collection as Some
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from markgraph.batches import batches
from markgraph.errors import StorageError
from markgraph.retrieval.chroma_base import ChromaBase, group_of
from markgraph.retrieval.chroma_sqlite import (
    DOCUMENT,
    forget_log,
    ids_after,
    permitted_among,
    permitted_ids,
    records_of,
)
from markgraph.retrieval.chroma_vectors import wipe_unfilled
from markgraph.retrieval.dense import BATCH, Embedder, check_embedder
from markgraph.retrieval.generations import Generation
from markgraph.retrieval.storage import storage_errors, write_whole
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.views import View, Views
from markgraph.security.caller import Caller
from markgraph.security.sealing.keyring import Keyring

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

SMALL = 5000
"""So many chunks are compared one by one in the time that it takes to ask twice."""
UUID_PATTERN = "????????-????-????-????-????????????"
_POSITION = """
    SELECT max(coalesce((SELECT max(seq_id) FROM embeddings_queue), 0),
               coalesce((SELECT max(seq_id) FROM max_seq_id), 0))
"""
_OPENING = threading.Lock()
"""Chroma gives whoever opens a folder what another has opened, which that one would stop."""


@dataclass
class ChromaIndex(ChromaBase):
    """Chroma within this process, over files that several processes may share.

    Chroma opens at the first use. Every hit's permissions are checked again.
    """

    path: Path
    embedder: Embedder
    name: str = "dense"
    """What results call it."""
    generation: str = ""
    """Which of the collection's vectors, where it has several; see `markgraph.retrieval.generations`."""
    neighbours: int = 4000
    """How many a search looks at before it lists what is permitted; 0 lists at once."""
    held: int = 20_000
    """Up to so many vectors that callers may read are held for those who ask again; 0 holds none.

    In a small collection for those who ask once, too: there each answer is exact, also a process's first.
    """
    seal: Keyring | None = None
    """Seals everything but ids, permissions and vectors; None keeps it in clear."""
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)
    _opened: "Collection | None" = field(default=None, init=False, repr=False, compare=False)
    _applied: int = field(default=-1, init=False, repr=False, compare=False)
    _views: Views = field(default_factory=Views, init=False, repr=False, compare=False)
    _stop: "weakref.finalize[..., Any] | None" = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()
        check_embedder(self.embedder)

    @contextmanager
    def _reading(self) -> Iterator["Collection | None"]:
        with storage_errors(self.path), self._lock:
            yield self._current() if self._file.exists() else None

    @contextmanager
    def _writing(self) -> Iterator["Collection"]:
        self._make_folder()
        with storage_errors(self.path), self._lock, FileLock(self.path / "write.lock"):
            collection = self._current() or self._create(self._client())
            yield collection
            # Chroma takes its log in when it is read. No other wrote meanwhile, so what changed is ours.
            collection.count()
            self._opened, self._applied = collection, self._position()
            for segment in self.path.glob(UUID_PATTERN):
                wipe_unfilled(segment)

    def at(self, generation: str, embedder: Embedder) -> "ChromaIndex":
        """Return an index over another generation in the same folder."""
        return replace(self, generation=generation, embedder=embedder)

    def current(self) -> Generation | None:
        """Return the note; None where nothing was ever switched."""
        try:
            text = self._note.read_text("utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"Could not read {self._note}: {error}.") from error
        return Generation.from_json(text, str(self._note))

    def switch(self, to: Generation) -> None:
        """Write the note, whole or not at all."""
        with storage_errors(self.path):
            write_whole(self._note, to.to_json())

    def drop(self, generation: str) -> None:
        """Remove a generation; one that isn't there is ignored."""
        if not self._file.exists():
            return
        with storage_errors(self.path), self._lock, FileLock(self.path / "write.lock"):
            super().drop(generation)
            # Chroma leaves the vectors of a collection that it deletes.
            segments = {id_ for (id_,) in self._watch.execute("SELECT id FROM segments")}
            for folder in self.path.glob(UUID_PATTERN):
                if folder.name not in segments:
                    shutil.rmtree(folder)

    @contextmanager
    def _client_held(self) -> Iterator["ClientAPI | None"]:
        with storage_errors(self.path), self._lock:
            yield self._client() if self._file.exists() else None

    @property
    def _note(self) -> Path:
        return self.path / "current.json"

    def _make_folder(self) -> None:
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    @property
    def _store(self) -> str:
        return f"dense:{self.path.absolute()}"

    @property
    def _place(self) -> str:
        return str(self.path)

    @property
    def _file(self) -> Path:
        return self.path / "chroma.sqlite3"

    def _nearest(
        self, collection: "Collection", vector: np.ndarray, caller: Caller, k: int
    ) -> dict[str, float]:
        view = self._views.get(
            group_of(caller),
            self._applied,
            lambda: self._view(collection, caller),
            lambda: collection.count() <= SMALL,
        )
        return view.nearest(vector, k) if view else super()._nearest(collection, vector, caller, k)

    def _view(self, collection: "Collection", caller: Caller) -> View | None:
        ids = self._permitted_ids(collection, caller)
        if not 0 < len(ids) <= self.held:
            return None
        rows = [collection.get(batch, include=["embeddings"]) for batch in batches(ids, BATCH)]
        vectors = np.concatenate([np.asarray(each["embeddings"], np.float32) for each in rows])  # (n, d)
        return View.of([id_ for each in rows for id_ in each["ids"]], vectors)

    def _permitted_among(self, collection: "Collection", ids: list[str], caller: Caller) -> Some[str]:
        return permitted_among(self._watch, collection.id, ids, caller)

    def _chunks(self, collection: "Collection", ids: list[str]) -> dict[str, Chunk]:
        found = records_of(self._watch, collection.id, ids)
        return {id_: self._records.chunk(id_, each[DOCUMENT], each) for id_, each in found.items()}

    def _scrub(self, cleared: bool) -> None:  # noqa: ARG002 -- a run before may have been killed
        with storage_errors(self.path), self._lock, FileLock(self.path / "write.lock"):
            self._client()  # another one, which has nothing open
            forget_log(self._watch)

    def _permitted_ids(self, collection: "Collection", caller: Caller) -> list[str]:
        collection.count()  # takes the log in
        return permitted_ids(self._watch, collection.id, caller)

    def _ids_after(self, collection: "Collection", after: str, limit: int) -> list[str]:
        collection.count()  # takes the log in
        return ids_after(self._watch, collection.id, after, limit)

    def _current(self) -> "Collection | None":
        """Return the collection, opened anew when another handle has written to it.

        Chroma keeps its vectors in memory and does not notice; a search then fails on ids it lacks.
        """
        if self._opened is None or self._position() != self._applied:
            self._opened = self._find(self._client())
            if self._opened:
                self._opened.count()  # takes in what a killed writer left in the log
            self._applied = self._position()
        return self._opened

    def _position(self) -> int:
        """Return how far the log goes in which Chroma enters every change; not opening it, nor a search."""
        try:
            return int(self._watch.execute(_POSITION).fetchone()[0])
        except sqlite3.OperationalError:  # Chroma has not made its tables yet
            return 0

    @cached_property
    def _watch(self) -> sqlite3.Connection:
        """A connection of our own to Chroma's file: it sees every write that is not its own."""
        return sqlite3.connect(self._file, check_same_thread=False, timeout=30)

    def _client(self) -> "ClientAPI":
        """Return a client that knows of all that was written; the one before is stopped."""
        import chromadb
        from chromadb.api.shared_system_client import SharedSystemClient
        from chromadb.config import Settings

        self._opened = None
        if self._stop:
            self._stop()
        settings = Settings(anonymized_telemetry=False)
        with _OPENING:
            SharedSystemClient.clear_system_cache()
            client: Any = chromadb.PersistentClient(path=str(self.path), settings=settings)
            self._stop = weakref.finalize(self, client._system.stop)
        opened: ClientAPI = client
        return opened
