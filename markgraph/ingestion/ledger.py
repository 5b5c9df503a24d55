"""Remembers what was ingested, so that a second run touches only what changed."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from markgraph.errors import StorageError
from markgraph.ingestion.lock import alone
from markgraph.ingestion.prepare import Prepared
from markgraph.ingestion.sealed_metadata import from_column, reseal_metadata, to_column
from markgraph.retrieval.storage import open_database, storage_errors
from markgraph.security.permissions import Permissions
from markgraph.security.sealing.keyring import Keyring

PAGE = 1000
"""How many documents are read at a time."""
WITHIN = """(source = :scope OR scope = :scope
    OR substr(source, 1, length(rtrim(:scope, '/')) + 1) = rtrim(:scope, '/') || '/')"""
"""What a corpus of the name `:scope` holds, in SQL: itself, what was ingested as it, what lies below it."""


@dataclass(frozen=True)
class Known:
    """What the ledger knows of a document."""

    source: str
    scope: str
    """Name of the corpus that it was ingested with."""
    permissions: Permissions | None
    """Those of its chunks; None while they are being changed, or where a run died in that."""
    metadata: dict[str, str]
    fingerprint: str | None
    """Under which it was ingested completely. Empty while it is being replaced; None if it never was."""


@dataclass
class Ledger:
    """Which documents are in an index, under which fingerprint, open to whom, as which chunks.

    A chunk is written here before it enters an index and leaves here after it has left it, and permissions
    are unknown here while they are changed there: a run that is killed in between loses track of nothing.
    """

    path: Path
    seal: Keyring | None = None
    """Seals the metadata of documents; names, permissions and hashes stay in clear. None seals nothing."""
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()

    def describe(self, stores: Iterable[str]) -> None:
        """Note that what is ingested goes into these stores, as `Index.stores` names them.

        Raises:
            StorageError: it went into others before: see `check`.
        """
        with self.transaction() as database:
            self.check(stores)
            database.execute("DELETE FROM stores")
            database.executemany("INSERT INTO stores VALUES (?)", [(name,) for name in self._names(stores)])

    def check(self, stores: Iterable[str]) -> None:
        """Refuse other stores than those that hold what was ingested: what changes here must change there.

        Raises:
            StorageError: saying which index has these.
        """
        with self.transaction() as database:
            before = [name for (name,) in database.execute("SELECT name FROM stores ORDER BY name")]
            is_empty = database.execute("SELECT 1 FROM documents").fetchone() is None
        if is_empty or before == (names := self._names(stores)):
            return
        kinds = {name.partition(":")[0] for name in before}
        option = kinds.pop() if len(kinds) == 1 else "hybrid"
        raise StorageError(
            f"This collection was ingested into {', '.join(before)}; this run would write to "
            f"{', '.join(names)}, and what it changes would not be changed there. "
            f"Ingest with the index of before (index={option}), or into another collection (collection=NAME)."
        )

    def _names(self, stores: Iterable[str]) -> list[str]:
        """Return names that stay the same when the collection's folder is moved."""
        return sorted({name.replace(f"{self.path.absolute().parent}/", "") for name in stores})

    def begin_run(self, run: str) -> None:
        """Note which run it is that may write; one that began before may no longer."""
        with self.transaction() as database:
            database.execute("DELETE FROM runs")
            database.execute("INSERT INTO runs VALUES (?)", (run,))

    @contextmanager
    def written_by(self, run: str) -> Iterator[None]:
        """Keep others from writing to the collection.

        Raises:
            StorageError: another run began after `run`, with rules of its own.
        """
        with alone(self.path.parent):
            with self.transaction() as database:
                is_last = database.execute("SELECT 1 FROM runs WHERE id = ?", (run,)).fetchone()
            if not is_last:
                raise StorageError("Another ingestion of this collection began meanwhile. Run this again.")
            yield

    def known(self, tenant: str, sources: Iterable[str]) -> dict[str, Known]:
        """Return what is known of these documents, by source; unknown ones are left out."""
        with self.transaction() as database:
            rows = database.execute(_THESE, (tenant, _json(sources)))
            return {row[0]: self._known(tenant, *row) for row in rows}

    def within(self, tenant: str, scope: str) -> Iterator[Known]:
        """Yield the documents that were ingested under `scope`, are it, or lie in it, finished or not.

        They come in the order of their sources, and may be changed meanwhile.
        """
        asked = {"tenant": tenant, "scope": scope, "after": "", "page": PAGE}
        while True:
            with self.transaction() as database:
                rows = database.execute(_WITHIN, asked).fetchall()
            yield from (self._known(tenant, *row) for row in rows)
            if len(rows) < PAGE:
                return
            asked["after"] = rows[-1][0]

    def is_known(self, tenant: str, scope: str) -> bool:
        """Tell whether there is any document as `within` yields them."""
        return next(self.within(tenant, scope), None) is not None

    def count_unreadable(self, tenant: str, scope: str) -> int:
        """Return how many documents of a corpus nobody may read."""
        with self.transaction() as database:
            return int(database.execute(_UNREADABLE, {"tenant": tenant, "scope": scope}).fetchone()[0])

    def chunks(self, tenant: str, sources: Iterable[str]) -> list[str]:
        """Return the ids of every chunk of these documents that may be in the index."""
        with self.transaction() as database:
            return [row[0] for row in database.execute(_CHUNKS, (tenant, _json(sources)))]

    def __len__(self) -> int:
        """Return how many chunks may be in the index."""
        with self.transaction() as database:
            return int(database.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def begin(self, tenant: str, scope: str, documents: Sequence[Prepared]) -> list[tuple[int, str]]:
        """Note that the chunks of `documents` are about to be added; return those outdated once they are."""
        outdated: list[tuple[int, str]] = []
        with self.transaction() as database:
            for document in documents:
                columns = _columns(document.permissions)
                metadata = to_column(self.seal, tenant, document.source, document.metadata)
                row = (tenant, document.source, scope, metadata, *columns)
                ((number,),) = database.execute(_BEGIN, row).fetchall()
                ids = {chunk.id for chunk in document.chunks}
                known = database.execute("SELECT document, id FROM chunks WHERE document = ?", (number,))
                outdated += [each for each in known if each[1] not in ids]
                rows = ((number, id_) for id_ in ids)
                database.executemany("INSERT OR IGNORE INTO chunks VALUES (?, ?)", rows)
        return outdated

    def finish(
        self, tenant: str, finished: Iterable[tuple[Prepared, str]], outdated: Iterable[tuple[int, str]]
    ) -> None:
        """Note that documents are in the index, each with its fingerprint, and that `outdated` has left."""
        with self.transaction() as database:
            for document, fingerprint in finished:
                columns = _columns(document.permissions)
                database.execute(_FINISH, (*columns, fingerprint, tenant, document.source))
            database.executemany("DELETE FROM chunks WHERE document = ? AND id = ?", outdated)

    def forget(self, tenant: str, sources: Sequence[str]) -> None:
        """Note that documents and all their chunks have left the index."""
        with self.transaction() as database:
            for statement in _FORGET:
                database.execute(statement, (tenant, _json(sources)))
            database.executemany("DELETE FROM hashes WHERE source = ?", [(source,) for source in sources])

    def permit(
        self, tenant: str, scope: str, sources: Iterable[str], permissions: Permissions | None
    ) -> None:
        """Note who may read documents from now on, by the rules of `scope`; None says it is being changed."""
        columns = _columns(permissions) if permissions else (None, None)
        with self.transaction() as database:
            database.execute(_PERMIT, (*columns, scope, tenant, _json(sources)))

    def reseal(self, progress: Callable[[int], object] = bool) -> int:
        """Seal what isn't, or is under an old key, and return of how many documents; can be repeated."""
        if self.seal is None or not self.path.exists():
            return 0
        with self.transaction() as database:
            sealed = reseal_metadata(self.seal, database, progress)
        with storage_errors(self.path), self._lock:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                self._database.execute(statement).fetchall()
        return sealed

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the database to one thread; what it does there is kept altogether or not at all."""
        with storage_errors(self.path), self._lock, self._database as database:
            yield database

    def _known(
        self,
        tenant: str,
        source: str,
        scope: str,
        readers: str | None,
        classification: int,
        metadata: str | bytes,
        fingerprint: str | None,
    ) -> Known:
        permissions = None if readers is None else _permissions(tenant, readers, classification)
        about = from_column(self.seal, tenant, source, metadata)
        return Known(source, scope, permissions, about, fingerprint)

    @cached_property
    def _database(self) -> sqlite3.Connection:
        database = open_database(self.path, _LAYOUT, _SCHEMA)
        database.execute("PRAGMA synchronous = FULL")
        database.isolation_level = "DEFERRED"
        return database


_LAYOUT = 3
_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, source TEXT NOT NULL, scope TEXT NOT NULL,
    readers TEXT, classification INTEGER, metadata TEXT NOT NULL, fingerprint TEXT, UNIQUE (tenant, source));
CREATE TABLE IF NOT EXISTS chunks (document INTEGER, id TEXT, PRIMARY KEY (document, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hashes (source TEXT PRIMARY KEY, stamp TEXT, sha256 TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS stores (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_THESE = """
    SELECT source, scope, readers, classification, metadata, fingerprint FROM documents
    WHERE tenant = ? AND source IN (SELECT value FROM json_each(?))
"""
_WITHIN = f"""
    SELECT source, scope, readers, classification, metadata, fingerprint FROM documents
    WHERE tenant = :tenant AND source > :after AND {WITHIN}
    ORDER BY source LIMIT :page
"""  # noqa: S608
_UNREADABLE = f"""
    SELECT count(*) FROM documents WHERE tenant = :tenant AND readers = '[]' AND {WITHIN}
"""  # noqa: S608
_CHUNKS = """
    SELECT chunks.id FROM documents JOIN chunks ON document = documents.id
    WHERE tenant = ? AND source IN (SELECT value FROM json_each(?))
"""
# Who ingests a part without changing who reads it, does not take it out of the whole; and the whole does not
# take back a part that was ingested by itself.
_IS_BELOW = "substr(?3, 1, length(rtrim(scope, '/')) + 1) = rtrim(scope, '/') || '/'"
_IS_PART = "substr(scope, 1, length(rtrim(?3, '/')) + 1) = rtrim(?3, '/') || '/'"
_SCOPE = f"CASE WHEN {_IS_PART} THEN scope ELSE ?3 END"
_BEGIN = f"""
    INSERT INTO documents (tenant, source, scope, metadata) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (tenant, source) DO UPDATE SET
        scope = CASE WHEN (readers, classification) = (?5, ?6) AND {_IS_BELOW} THEN scope ELSE {_SCOPE} END,
        metadata = excluded.metadata, readers = NULL, classification = NULL,
        fingerprint = CASE WHEN fingerprint IS NULL THEN NULL ELSE '' END
    RETURNING id
"""  # noqa: S608
_FINISH = """
    UPDATE documents SET readers = ?, classification = ?, fingerprint = ? WHERE tenant = ? AND source = ?
"""
_PERMIT = f"""
    UPDATE documents SET readers = ?1, classification = ?2, scope = {_SCOPE}
    WHERE tenant = ?4 AND source IN (SELECT value FROM json_each(?5))
"""  # noqa: S608
_FORGET = (
    """DELETE FROM chunks WHERE document IN (SELECT id FROM documents
        WHERE tenant = ? AND source IN (SELECT value FROM json_each(?)))""",
    "DELETE FROM documents WHERE tenant = ? AND source IN (SELECT value FROM json_each(?))",
)


def _columns(permissions: Permissions) -> tuple[str, int]:
    return _json(sorted(permissions.readers)), permissions.classification


@lru_cache(maxsize=1024)  # many documents have the same
def _permissions(tenant: str, readers: str, classification: int) -> Permissions:
    return Permissions(tenant, tuple(json.loads(readers)), classification)


def _json(values: Iterable[str]) -> str:
    return json.dumps(list(values))
