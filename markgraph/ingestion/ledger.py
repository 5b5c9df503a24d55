"""Remembers what was ingested, so that a second run touches only what changed."""

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from markgraph.retrieval.storage import storage_errors

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    tenant TEXT, source TEXT, scope TEXT, readers TEXT, fingerprint TEXT, PRIMARY KEY (tenant, source));
CREATE TABLE IF NOT EXISTS chunks (
    tenant TEXT, source TEXT, id TEXT, PRIMARY KEY (tenant, source, id));
"""


@dataclass
class Ledger:
    """Which documents are in an index, under which fingerprint, as which chunks.

    A chunk is written here before it enters an index and leaves here after it has left it, so
    a run that is killed in between never loses track of one.
    """

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()

    def fingerprint(self, tenant: str, source: str) -> str | None:
        """Return the fingerprint under which a document was ingested completely, if it was."""
        query = "SELECT fingerprint FROM documents WHERE tenant = ? AND source = ?"
        with storage_errors(self.path), self._lock:
            row = self._database.execute(query, (tenant, source)).fetchone()
        return str(row[0]) if row else None

    def known(self, tenant: str, source: str) -> tuple[str, tuple[str, ...]] | None:
        """Return the scope and the readers under which a document was last ingested, finished or not."""
        query = "SELECT scope, readers FROM documents WHERE tenant = ? AND source = ?"
        with storage_errors(self.path), self._lock:
            row = self._database.execute(query, (tenant, source)).fetchone()
        return (row[0], tuple(json.loads(row[1]))) if row else None

    def sources(self, tenant: str, scope: str) -> list[str]:
        """Return the documents that were ingested under `scope` or lie in that folder, finished or not."""
        query = """SELECT source FROM documents WHERE tenant = :tenant
            AND (scope = :scope OR substr(source, 1, length(:scope) + 1) = :scope || '/') ORDER BY source"""
        with storage_errors(self.path), self._lock:
            rows = self._database.execute(query, {"tenant": tenant, "scope": scope})
            return [row[0] for row in rows]

    def chunks(self, tenant: str, source: str) -> list[str]:
        """Return the ids of every chunk of a document that may be in the index."""
        query = "SELECT id FROM chunks WHERE tenant = ? AND source = ? ORDER BY id"
        with storage_errors(self.path), self._lock:
            return [row[0] for row in self._database.execute(query, (tenant, source))]

    def begin(
        self, tenant: str, source: str, scope: str, readers: Sequence[str], ids: Sequence[str]
    ) -> list[str]:
        """Note that `ids` are about to be added; return the ids that are outdated once they are."""
        known = self.chunks(tenant, source)
        with storage_errors(self.path), self._lock, self._database as database:
            database.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, '')",
                (tenant, source, scope, json.dumps(sorted(readers))),
            )
            database.executemany(
                "INSERT OR IGNORE INTO chunks VALUES (?, ?, ?)", [(tenant, source, id_) for id_ in ids]
            )
        return sorted(set(known) - set(ids))

    def finish(self, tenant: str, source: str, fingerprint: str, outdated: Sequence[str]) -> None:
        """Note that a document is in the index, and that `outdated` chunks of it have left."""
        with storage_errors(self.path), self._lock, self._database as database:
            database.execute(
                "UPDATE documents SET fingerprint = ? WHERE tenant = ? AND source = ?",
                (fingerprint, tenant, source),
            )
            database.executemany(
                "DELETE FROM chunks WHERE tenant = ? AND source = ? AND id = ?",
                [(tenant, source, id_) for id_ in outdated],
            )

    def forget(self, tenant: str, source: str) -> None:
        """Note that a document and all its chunks have left the index."""
        with storage_errors(self.path), self._lock, self._database as database:
            for table in ("documents", "chunks"):
                database.execute(
                    f"DELETE FROM {table} WHERE tenant = ? AND source = ?",  # noqa: S608 -- fixed names
                    (tenant, source),
                )

    @cached_property
    def _database(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, check_same_thread=False, timeout=30)
        database.executescript(_SCHEMA)
        return database
