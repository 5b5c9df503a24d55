"""The tables that a chunk store keeps in SQLite, and what is read and written there."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from markgraph.errors import ShreddedError
from markgraph.retrieval.types import Chunk
from markgraph.security.permissions import Permissions
from markgraph.security.sealing.keyring import Keyring

LAYOUT = 1
"""The `user_version` of the tables below; grows with each change of them."""
# `changes` names the positions that were written, the newest change of each, so that whoever keeps what was
# made from the chunks can catch up; triggers see to it, so that no writer forgets. No position is used twice.
SCHEMA = """
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
ROWS = """SELECT position, id, chunks.tenant, body, readers, classification
    FROM chunks JOIN permissions USING (permission)"""
Row = tuple[int, str, str, str | bytes, str, int]
"""Position, id, tenant, body, readers, classification."""


@contextmanager
def transaction(database: sqlite3.Connection, kind: str) -> Iterator[sqlite3.Connection]:
    """Give one consistent view, or do all or nothing; `kind` is DEFERRED or IMMEDIATE."""
    database.execute(f"BEGIN {kind}")
    try:
        yield database
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def put(database: sqlite3.Connection, rows: Sequence[tuple[Chunk, str | bytes, str]]) -> None:
    """Store chunks, with what is kept of each and of its words."""
    kinds = {chunk.permissions for chunk, _, _ in rows}
    numbers = {permissions: permission_number(database, permissions) for permissions in kinds}
    for chunk, body, stems in rows:
        # Other words need another position; the same words keep theirs, and what was made of them.
        id_ = chunk.id
        database.execute("DELETE FROM chunks WHERE id = ? AND words <> ?", (id_, stems))
        database.execute(
            """INSERT INTO chunks (id, tenant, permission, body, words) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET permission = excluded.permission, body = excluded.body""",
            (id_, chunk.tenant, numbers[chunk.permissions], body, stems),
        )


def is_outdated(seal: Keyring, tenant: str, body: object) -> bool:
    """Tell whether a body is to be sealed anew; what can't be read any more is left as it is."""
    try:
        return not seal.is_current(tenant, body)
    except ShreddedError:
        return False


def permissions_of(row: Row) -> Permissions:
    """Return who may read the chunk in a row."""
    _, _, tenant, _, readers, classification = row
    return Permissions(tenant, tuple(json.loads(readers)), classification)


def permissions_since(database: sqlite3.Connection, tenant: str, last: int) -> dict[int, Permissions]:
    """Return the permissions of a tenant's chunks, by their numbers, those after number `last`."""
    query = """SELECT permission, readers, classification FROM permissions
        WHERE tenant = ? AND permission > ? ORDER BY permission"""
    rows = database.execute(query, (tenant, last))
    return {number: Permissions(tenant, tuple(json.loads(readers)), level) for number, readers, level in rows}


def permission_number(database: sqlite3.Connection, permissions: Permissions) -> int:
    """Return the number of these permissions, a new one where they are new."""
    key = (permissions.tenant, json.dumps(permissions.readers), permissions.classification)
    query = "SELECT permission FROM permissions WHERE (tenant, readers, classification) = (?, ?, ?)"
    row = database.execute(query, key).fetchone()
    insert = "INSERT INTO permissions (tenant, readers, classification) VALUES (?, ?, ?)"
    return int(row[0]) if row else int(database.execute(insert, key).lastrowid or 0)
