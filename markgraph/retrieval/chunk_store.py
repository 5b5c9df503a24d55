"""Keeps chunks, their words, and who may read them in an SQLite file: what each search by words stands on."""

import json
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from markgraph.retrieval.storage import open_database, storage_errors
from markgraph.retrieval.types import Chunk, Vectors, permitted_as
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions, may_read
from markgraph.text import words

_LAYOUT = 1
"""The `user_version` of the tables below; grows with each change of them."""
# `changes` names the positions that were written, the newest change of each, so that whoever keeps what was
# made from the chunks can catch up; triggers see to it, so that no writer forgets. No position is used twice.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS permissions (
    permission INTEGER PRIMARY KEY, tenant TEXT NOT NULL, readers TEXT NOT NULL,
    classification INTEGER NOT NULL, UNIQUE (tenant, readers, classification));
CREATE TABLE IF NOT EXISTS chunks (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    permission INTEGER NOT NULL, body TEXT NOT NULL, words TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS chunks_by_permission ON chunks (permission);
CREATE TABLE IF NOT EXISTS changes (
    change INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, position INTEGER NOT NULL UNIQUE);
CREATE INDEX IF NOT EXISTS changes_by_tenant ON changes (tenant, change);
CREATE TABLE IF NOT EXISTS bases (
    tenant TEXT PRIMARY KEY, folder TEXT NOT NULL, change INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TRIGGER IF NOT EXISTS chunk_added AFTER INSERT ON chunks BEGIN
    INSERT INTO changes (tenant, position) VALUES (new.tenant, new.position); END;
CREATE TRIGGER IF NOT EXISTS chunk_removed AFTER DELETE ON chunks BEGIN
    DELETE FROM changes WHERE position = old.position;
    INSERT INTO changes (tenant, position) VALUES (old.tenant, old.position); END;
CREATE TRIGGER IF NOT EXISTS chunk_permitted AFTER UPDATE OF permission ON chunks
    WHEN old.permission <> new.permission BEGIN
    DELETE FROM changes WHERE position = new.position;
    INSERT INTO changes (tenant, position) VALUES (new.tenant, new.position); END;
"""
_AMONG = "id IN (SELECT value FROM json_each(?))"


@dataclass
class ChunkStore:
    """The part of the `Index` port that has nothing to do with ranking; subclasses add `search`.

    Several processes may read and write one file.
    """

    path: Path
    name: str = "words"
    """What results call it."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()

    @property
    def stores(self) -> tuple[str, ...]:
        """Return the one file that is written to, whatever ranks what is in it."""
        return (f"words:{self.path.absolute()}",)

    @property
    def embedder(self) -> None:
        """Return None: there are no vectors."""

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:  # noqa: ARG002
        """Store `chunks`; one that is there already is replaced, with its permissions."""
        rows = [(chunk, " ".join(_indexed_words(chunk))) for chunk in chunks]
        with self._writing() as database:
            kinds = {chunk.permissions for chunk in chunks}
            numbers = {permissions: _permission(database, permissions) for permissions in kinds}
            for chunk, stems in rows:
                # Other words need another position; the same words keep theirs, and what was made of them.
                id_ = chunk.id
                database.execute("DELETE FROM chunks WHERE id = ? AND words <> ?", (id_, stems))
                database.execute(
                    """INSERT INTO chunks (id, tenant, permission, body, words) VALUES (?, ?, ?, ?, ?)
                    ON CONFLICT (id) DO UPDATE SET permission = excluded.permission, body = excluded.body""",
                    (id_, chunk.tenant, numbers[chunk.permissions], chunk.to_json(), stems),
                )
        self._written({chunk.tenant for chunk in chunks})

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids; unknown ids are ignored."""
        if not ids or not self.path.exists():
            return
        delete = f"DELETE FROM chunks WHERE {_AMONG} RETURNING tenant"  # noqa: S608
        with self._writing() as database:
            tenants = {tenant for (tenant,) in database.execute(delete, (json.dumps(list(ids)),))}
        self._written(tenants)

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids, from the next search on; unknown ids are ignored."""
        if not ids or not self.path.exists():
            return
        among, readers = json.dumps(list(ids)), json.dumps(permissions.readers)
        foreign = f"SELECT body FROM chunks WHERE {_AMONG} AND tenant <> ? LIMIT 1"  # noqa: S608
        update = f"""UPDATE chunks SET permission = ?,
            body = json_set(body, '$.readers', json(?), '$.classification', ?) WHERE {_AMONG}"""  # noqa: S608
        with self._writing() as database:
            for (body,) in database.execute(foreign, (among, permissions.tenant)):
                permitted_as(Chunk.from_json(body), permissions)  # says what is wrong
            permission = _permission(database, permissions)
            database.execute(update, (permission, readers, permissions.classification, among))
        self._written({permissions.tenant})

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`."""
        readers_of(caller)  # nobody is refused, found or not
        if not self.path.exists():
            return []
        query = f"SELECT id, body FROM chunks WHERE {_AMONG}"  # noqa: S608
        with self._reading() as database:
            rows = database.execute(query, (json.dumps(list(ids)),)).fetchall()
        found = {id_: Chunk.from_json(body) for id_, body in rows}
        return [found[id_] for id_ in ids if id_ in found and may_read(caller, found[id_].permissions)]

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them."""
        if not self.path.exists():
            return []
        with self._reading() as database:
            query = "SELECT body FROM chunks WHERE id > ? ORDER BY id LIMIT ?"
            rows = database.execute(query, (after, limit)).fetchall()
        return [Chunk.from_json(body) for (body,) in rows]

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
        if not self.path.exists():
            return 0
        with self._reading() as database:
            return int(database.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def _written(self, tenants: Collection[str]) -> None:
        """Take note of a write of this process to chunks of `tenants`, after it."""

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Give one consistent view of the file."""
        with storage_errors(self.path), self._lock, _transaction(self._database, "DEFERRED") as database:
            yield database

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Make all of some writes take place, or none."""
        with storage_errors(self.path), self._lock, _transaction(self._database, "IMMEDIATE") as database:
            yield database

    @cached_property
    def _database(self) -> sqlite3.Connection:
        return open_database(self.path, _LAYOUT, _SCHEMA)


@contextmanager
def _transaction(database: sqlite3.Connection, kind: str) -> Iterator[sqlite3.Connection]:
    database.execute(f"BEGIN {kind}")
    try:
        yield database
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def stored_at(database: sqlite3.Connection, positions: Sequence[int]) -> list[tuple[int, Chunk]]:
    """Return the chunks at `positions`, in that order, and where they are."""
    query = "SELECT position, body FROM chunks WHERE position IN (SELECT value FROM json_each(?))"
    bodies = dict(database.execute(query, (json.dumps(positions),)).fetchall())
    return [(position, Chunk.from_json(bodies[position])) for position in positions if position in bodies]


def permissions_since(database: sqlite3.Connection, tenant: str, last: int) -> dict[int, Permissions]:
    """Return the permissions of a tenant's chunks, by their numbers, those after number `last`."""
    query = """SELECT permission, readers, classification FROM permissions
        WHERE tenant = ? AND permission > ? ORDER BY permission"""
    rows = database.execute(query, (tenant, last))
    return {number: Permissions(tenant, tuple(json.loads(readers)), level) for number, readers, level in rows}


def _permission(database: sqlite3.Connection, permissions: Permissions) -> int:
    """Return the number of these permissions, a new one where they are new."""
    key = (permissions.tenant, json.dumps(permissions.readers), permissions.classification)
    query = "SELECT permission FROM permissions WHERE (tenant, readers, classification) = (?, ?, ?)"
    row = database.execute(query, key).fetchone()
    insert = "INSERT INTO permissions (tenant, readers, classification) VALUES (?, ?, ?)"
    return int(row[0]) if row else int(database.execute(insert, key).lastrowid or 0)


def _indexed_words(chunk: Chunk) -> list[str]:
    return words(" ".join((chunk.title, *chunk.heading, chunk.text)))
