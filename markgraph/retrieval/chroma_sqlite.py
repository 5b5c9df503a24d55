"""Reads chunks and permissions out of an embedded Chroma's own SQLite file; its interface is slow at that.

Read-only; values are always parameters. The tables are those of chromadb 1.5, which `pyproject.toml` pins.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from markgraph.retrieval.chroma_records import permissions_in, to_chunk
from markgraph.retrieval.types import Chunk
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions

_SEGMENT = "(SELECT id FROM segments WHERE collection = :collection AND scope = 'METADATA')"
_PERMISSIONS = f"""
    SELECT e.embedding_id,
        (SELECT string_value FROM embedding_metadata WHERE id = e.id AND key = 'tenant'),
        (SELECT json_group_array(string_value) FROM embedding_metadata_array
         WHERE id = e.id AND key = 'readers'),
        (SELECT int_value FROM embedding_metadata WHERE id = e.id AND key = 'classification')
    FROM embeddings e WHERE e.segment_id = {_SEGMENT}
    AND e.embedding_id IN (SELECT value FROM json_each(:ids))
"""  # noqa: S608
_RECORDS = f"""
    SELECT e.embedding_id, m.key, coalesce(m.string_value, m.int_value)
    FROM embeddings e JOIN embedding_metadata m ON m.id = e.id WHERE e.segment_id = {_SEGMENT}
    AND e.embedding_id IN (SELECT value FROM json_each(:ids))
"""  # noqa: S608
_ALL = f"""
    SELECT e.embedding_id FROM embeddings e WHERE e.segment_id = {_SEGMENT}
    AND e.id IN (SELECT id FROM embedding_metadata_array WHERE key = 'readers'
                 AND string_value IN (SELECT value FROM json_each(:atoms)))
    AND EXISTS (SELECT 1 FROM embedding_metadata t WHERE t.id = e.id AND t.key = 'tenant'
                AND t.string_value = :tenant)
    AND EXISTS (SELECT 1 FROM embedding_metadata c WHERE c.id = e.id AND c.key = 'classification'
                AND c.int_value <= :clearance)
"""  # noqa: S608
_AFTER = f"""
    SELECT embedding_id FROM embeddings WHERE segment_id = {_SEGMENT} AND embedding_id > :after
    ORDER BY embedding_id LIMIT :limit
"""  # noqa: S608


def permissions_of(
    database: sqlite3.Connection, collection: UUID, ids: Sequence[str]
) -> dict[str, Permissions]:
    """Return the permissions of the chunks with these ids, by id; unknown ids are left out."""
    values = {"collection": str(collection), "ids": json.dumps(list(ids))}
    rows = database.execute(_PERMISSIONS, values)
    return {
        id_: permissions_in({"tenant": tenant, "readers": json.loads(readers), "classification": level})
        for id_, tenant, readers, level in rows
    }


def chunks_of(database: sqlite3.Connection, collection: UUID, ids: Sequence[str]) -> dict[str, Chunk]:
    """Return the chunks with these ids, by id; unknown ids are left out."""
    values = {"collection": str(collection), "ids": json.dumps(list(ids))}
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for id_, key, value in database.execute(_RECORDS, values):
        found[id_][key] = value
    for id_, permissions in permissions_of(database, collection, ids).items():
        found[id_] |= {"readers": permissions.readers}
    return {id_: to_chunk(record["chroma:document"], record) for id_, record in found.items()}


def permitted_ids(database: sqlite3.Connection, collection: UUID, caller: Caller) -> list[str]:
    """Return the ids of everything that `caller` may read.

    Raises:
        DeniedError: the caller is nobody.
    """
    held = {
        "collection": str(collection),
        "atoms": json.dumps(readers_of(caller)),
        "tenant": caller.tenant,
        "clearance": caller.clearance,
    }
    return [id_ for (id_,) in database.execute(_ALL, held)]


def ids_after(database: sqlite3.Connection, collection: UUID, after: str, limit: int) -> list[str]:
    """Return the next `limit` ids behind `after`, in their order."""
    values = {"collection": str(collection), "after": after, "limit": limit}
    return [id_ for (id_,) in database.execute(_AFTER, values)]
