"""Chunks as Chroma keeps them, and the filter for what a caller may read."""

import json
from collections.abc import Mapping
from typing import Any

from markgraph.retrieval.types import Chunk
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions

NOBODY = "nobody"
"""An atom that nobody holds: Chroma refuses empty lists."""
NO_PAGE = 0
"""Chroma keeps the old value of a key that a new record lacks, so none may be left out."""


def permitted(caller: Caller) -> dict[str, Any]:
    """Return the Chroma filter for what `caller` may read, positive operators only.

    Raises:
        DeniedError: when the caller is nobody.
    """
    readers = [{"readers": {"$contains": atom}} for atom in dict.fromkeys(readers_of(caller))]
    cleared = {"classification": {"$lte": caller.clearance}}
    return {"$and": [{"tenant": caller.tenant}, cleared, {"$or": readers}]}


def to_metadata(chunk: Chunk) -> dict[str, Any]:
    """Return all of `chunk` but its text."""
    return {
        "source": chunk.source,
        "title": chunk.title,
        "start": chunk.start,
        "end": chunk.end,
        "page": chunk.page or NO_PAGE,
        "tenant": chunk.tenant,
        "heading": json.dumps(chunk.heading),
        "page_breaks": json.dumps(chunk.page_breaks),
        "classification": chunk.classification,
        "before": chunk.before,
        "after": chunk.after,
        "metadata": json.dumps(chunk.metadata),
        "readers": list(chunk.readers) or [NOBODY],
    }


def to_chunk(text: str, metadata: Mapping[str, Any]) -> Chunk:
    """Return the chunk that `to_metadata` was given."""
    fields = {key: metadata[key] for key in ("source", "title", "start", "end", "before", "after")}
    permissions = permissions_in(metadata)
    return Chunk(
        text,
        **fields,
        heading=tuple(json.loads(metadata["heading"])),
        page=metadata.get("page") or None,
        page_breaks=tuple(json.loads(metadata["page_breaks"])),
        tenant=permissions.tenant,
        readers=permissions.readers,
        classification=permissions.classification,
        metadata=json.loads(metadata["metadata"]),
    )


def permissions_in(metadata: Mapping[str, Any]) -> Permissions:
    """Return the permissions of the chunk that `metadata` is of."""
    readers = tuple(atom for atom in metadata["readers"] if atom != NOBODY)
    return Permissions(metadata["tenant"], readers, metadata["classification"])
