"""Finds chunks by meaning, in a Chroma server.

The server is `chroma run`, which is written in Rust. It asks nobody who they are: whoever reaches its port
reads and changes everything. The Python server is refused: it runs code that a stranger sends
(CVE-2026-45829).
"""

import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

from markgraph.errors import ConfigError, MarkError, StorageError
from markgraph.retrieval.chroma_base import ChromaBase
from markgraph.retrieval.dense import Embedder, check_embedder
from markgraph.retrieval.generations import Generation
from markgraph.security.doors import is_loopback
from markgraph.security.sealing.keyring import Keyring

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

START = "chroma run --path FOLDER --host 127.0.0.1 --port PORT"


@dataclass
class ChromaServerIndex(ChromaBase):
    """Chroma in a server on this machine, for several processes that write at once.

    Connects at the first use. Every hit's permissions are checked again.
    """

    embedder: Embedder
    collection: str = "documents"
    """Each collection of documents has its own in the server."""
    host: str = "127.0.0.1"
    port: int = 8000
    allow_remote: bool = False
    """Take another host than this one: only where nobody but MARK reaches that server's port."""
    name: str = "dense"
    """What results call it."""
    generation: str = ""
    """Which of the collection's vectors, where it has several; see `markgraph.retrieval.generations`."""
    neighbours: int = 4000
    """How many a search looks at before it lists what is permitted; 0 lists at once."""
    seal: Keyring | None = None
    """Seals everything but ids, permissions and vectors; None sends it in clear."""
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)
    _connected: "ClientAPI | None" = field(default=None, init=False, repr=False, compare=False)
    _opened: "Collection | None" = field(default=None, init=False, repr=False, compare=False)
    _listed: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_embedder(self.embedder)
        if not (self.allow_remote or is_loopback(self.host)):
            raise ConfigError(
                f"Chroma's server is at {self.host!r}, which is not this machine. It asks nobody who they "
                "are: whoever reaches its port reads and changes every document. Use 127.0.0.1, with a "
                "tunnel that authenticates if it runs elsewhere, or set allow_remote=true where nobody "
                "but MARK reaches the port."
            )

    @contextmanager
    def _reading(self) -> Iterator["Collection | None"]:
        with self._errors(), self._lock:
            self._opened = self._opened or self._find(self._client)
            yield self._opened

    @contextmanager
    def _writing(self) -> Iterator["Collection"]:
        with self._errors(), self._lock:
            self._opened = self._opened or self._find(self._client) or self._create(self._client)
            yield self._opened

    def at(self, generation: str, embedder: Embedder) -> "ChromaServerIndex":
        """Return an index over another generation in the same server."""
        return replace(self, generation=generation, embedder=embedder)

    def current(self) -> Generation | None:
        """Return the note, an empty collection's metadata; None where nothing was ever switched."""
        from chromadb.errors import NotFoundError

        with self._client_held() as client:
            try:
                note = client.get_collection(self._note, embedding_function=None)
            except NotFoundError:
                return None
        return Generation.from_json((note.metadata or {}).get("generation", ""), self._place)

    def switch(self, to: Generation) -> None:
        """Write the note, whole or not at all."""
        from chromadb.errors import NotFoundError

        note = {"generation": to.to_json()}
        with self._client_held() as client:
            try:
                client.get_collection(self._note, embedding_function=None).modify(metadata=note)
            except NotFoundError:
                client.create_collection(self._note, embedding_function=None, metadata=note)

    @contextmanager
    def _client_held(self) -> Iterator["ClientAPI"]:
        with self._errors(), self._lock:
            yield self._client

    @property
    def _store(self) -> str:
        return f"chroma_server:{self.host}:{self.port} {self.collection}"

    @property
    def _place(self) -> str:
        return f"{self.host}:{self.port} ({self._collection_name})"

    @property
    def _prefix(self) -> str:
        return f"{self.collection}-{super()._prefix}"

    @property
    def _note(self) -> str:
        return f"{self.collection}-current"

    def _ids_after(self, collection: "Collection", after: str, limit: int) -> list[str]:
        """Return the next `limit` ids; the server can't sort, so they are listed when a scan begins."""
        if not after or not self._listed:
            self._listed = sorted(collection.get(include=[])["ids"])
        there: list[str] = []
        begin = bisect_right(self._listed, after)
        while begin < len(self._listed) and not there:
            page = self._listed[begin : begin + limit]
            there = sorted(collection.get(page, include=[])["ids"])
            begin += limit
        if not there:
            self._listed = []
        return there

    def _scrub(self, cleared: bool) -> None:
        if not cleared:
            return
        raise StorageError(
            f"The documents at {self._place} are sealed now, but the server's files still hold what they "
            "were, and only the server could overwrite that. Ingest into another collection, and "
            "start the server on a folder without the old one."
        )

    @property
    def _client(self) -> "ClientAPI":
        if self._connected is None:
            self._connected = self._connect()
        return self._connected

    def _connect(self) -> "ClientAPI":
        import chromadb
        import httpx
        from chromadb.config import Settings

        if "http" in getproxies() and not proxy_bypass(self.host):
            raise ConfigError(
                f"HTTP_PROXY is set, and documents for {self.host} would go through that proxy. "
                f"Add {self.host} to NO_PROXY."
            )
        url = f"http://{self.host}:{self.port}/api/v2/heartbeat"
        answer = httpx.get(url, trust_env=False, timeout=10)
        if "uvicorn" in answer.headers.get("server", ""):
            raise StorageError(
                f"At {self.host}:{self.port} is Chroma's Python server, which runs code that a stranger "
                f"sends (CVE-2026-45829). Stop it, and start the other one: {START}"
            )
        settings = Settings(anonymized_telemetry=False)
        client = chromadb.HttpClient(host=self.host, port=self.port, settings=settings)
        weakref.finalize(self, _close, client)
        return client

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise `StorageError` for whatever goes wrong with the server."""
        import httpx
        from chromadb.errors import ChromaError

        try:
            yield
        except MarkError:
            raise
        except (httpx.HTTPError, ChromaError, ConnectionError) as error:
            self._connected = self._opened = None
            raise StorageError(
                f"Chroma's server at {self.host}:{self.port} did not do what was asked: {error}. "
                f"Is it running? Start it with: {START}"
            ) from error


def _close(client: Any) -> None:
    """Close its connections, which its own close() leaves open."""
    for each in (client, client._admin_client):
        each._server._session.close()
