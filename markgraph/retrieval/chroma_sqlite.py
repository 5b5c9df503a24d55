"""Reads chunks and permissions out of an embedded Chroma's own SQLite file; its interface is slow at that.

Read-only; values are always parameters. The tables are those of chromadb 1.5, which `pyproject.toml` pins.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from markgraph.security.caller import Caller, readers_of

_SEGMENT = "(SELECT id FROM segments WHERE collection = :collection AND scope = 'METADATA')"
_READERS = f"""
    SELECT e.embedding_id, a.string_value
    FROM embeddings e JOIN embedding_metadata_array a ON a.id = e.id AND a.key = 'readers'
    WHERE e.segment_id = {_SEGMENT} AND e.embedding_id IN (SELECT value FROM json_each(:ids))
    ORDER BY a.rowid
"""  # noqa: S608
_RECORDS = f"""
    SELECT e.embedding_id, m.key, coalesce(m.string_value, m.int_value)
    FROM embeddings e JOIN embedding_metadata m ON m.id = e.id WHERE e.segment_id = {_SEGMENT}
    AND e.embedding_id IN (SELECT value FROM json_each(:ids))
"""  # noqa: S608
_HELD = """EXISTS (SELECT 1 FROM embedding_metadata_array a WHERE a.id = e.id AND a.key = 'readers'
                AND a.string_value IN (SELECT value FROM json_each(:atoms)))
    AND EXISTS (SELECT 1 FROM embedding_metadata t WHERE t.id = e.id AND t.key = 'tenant'
                AND t.string_value = :tenant)
    AND EXISTS (SELECT 1 FROM embedding_metadata c WHERE c.id = e.id AND c.key = 'classification'
                AND c.int_value <= :clearance)"""
_AMONG = f"""
    SELECT e.embedding_id FROM embeddings e WHERE e.segment_id = {_SEGMENT}
    AND e.embedding_id IN (SELECT value FROM json_each(:ids)) AND {_HELD}
"""  # noqa: S608
_ALL = f"""
    SELECT e.embedding_id FROM embeddings e WHERE e.segment_id = {_SEGMENT}
    AND e.id IN (SELECT id FROM embedding_metadata_array WHERE key = 'readers'
                 AND string_value IN (SELECT value FROM json_each(:atoms))) AND {_HELD}
"""  # noqa: S608
_AFTER = f"""
    SELECT embedding_id FROM embeddings WHERE segment_id = {_SEGMENT} AND embedding_id > :after
    ORDER BY embedding_id LIMIT :limit
"""  # noqa: S608

DOCUMENT = "chroma:document"
_FORGET_LOG = """
    UPDATE embeddings_queue SET metadata = NULL WHERE seq_id <= (SELECT max(seq_id) FROM max_seq_id
    JOIN segments ON segments.id = segment_id WHERE scope = 'METADATA')
"""


def permitted_among(
    database: sqlite3.Connection, collection: UUID, ids: Sequence[str], caller: Caller
) -> set[str]:
    """Return those of `ids` that `caller` may read.

    Raises:
        DeniedError: the caller is nobody.
    """
    values = _held(collection, caller) | {"ids": json.dumps(list(ids))}
    return {id_ for (id_,) in database.execute(_AMONG, values)}


def permitted_ids(database: sqlite3.Connection, collection: UUID, caller: Caller) -> list[str]:
    """Return the ids of everything that `caller` may read.

    Raises:
        DeniedError: the caller is nobody.
    """
    return [id_ for (id_,) in database.execute(_ALL, _held(collection, caller))]


def records_of(
    database: sqlite3.Connection, collection: UUID, ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the records with these ids, by id; unknown ids are left out. The text is under `DOCUMENT`."""
    values = {"collection": str(collection), "ids": json.dumps(list(ids))}
    found: defaultdict[str, dict[str, Any]] = defaultdict(lambda: {"readers": []})
    for id_, key, value in database.execute(_RECORDS, values):
        found[id_][key] = value
    for id_, reader in database.execute(_READERS, values):
        found[id_]["readers"].append(reader)
    return dict(found)


def forget_log(database: sqlite3.Connection) -> None:
    """Overwrite what Chroma's log says of records that are in its tables already, and all that was deleted.

    The vectors in the log stay: those of the last thousand changes are nowhere else.
    """
    database.execute(_FORGET_LOG)
    database.commit()
    database.execute("VACUUM")


def ids_after(database: sqlite3.Connection, collection: UUID, after: str, limit: int) -> list[str]:
    """Return the next `limit` ids behind `after`, in their order."""
    values = {"collection": str(collection), "after": after, "limit": limit}
    return [id_ for (id_,) in database.execute(_AFTER, values)]


def _held(collection: UUID, caller: Caller) -> dict[str, str | int]:
    return {
        "collection": str(collection),
        "atoms": json.dumps(readers_of(caller)),
        "tenant": caller.tenant,
        "clearance": caller.clearance,
    }
