"""Chunks as Chroma keeps them, and the filter for what a caller may read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markgraph.retrieval.bodies import Bodies, from_text, refuse_clear, refuse_sealed, to_text
from markgraph.retrieval.chunk_rows import is_outdated
from markgraph.retrieval.types import Chunk
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions
from markgraph.security.sealing.keyring import Keyring

NOBODY = "nobody"
"""An atom that nobody holds: Chroma refuses empty lists."""
NO_PAGE = 0
"""Chroma keeps the old value of a key that a new record lacks, so none may be left out."""


SEALED = "sealed"
"""The key of a record that holds a whole chunk, sealed."""


def permitted(caller: Caller) -> dict[str, Any]:
    """Return the Chroma filter for what `caller` may read, positive operators only.

    Raises:
        DeniedError: when the caller is nobody.
    """
    readers = [{"readers": {"$contains": atom}} for atom in dict.fromkeys(readers_of(caller))]
    cleared = {"classification": {"$lte": caller.clearance}}
    return {"$and": [{"tenant": caller.tenant}, cleared, {"$or": readers}]}


@dataclass(frozen=True)
class Records:
    """Makes records of chunks, sealed where there is a keyring, and chunks of records."""

    seal: Keyring | None
    place: str
    """What errors call it."""

    def text(self, chunk: Chunk) -> str:
        """Return what Chroma keeps as the document; it also cuts that into words, in clear."""
        return chunk.text if self.seal is None else ""

    def metadata(self, chunk: Chunk) -> dict[str, Any]:
        """Return the rest."""
        if self.seal is None:
            return to_metadata(chunk)
        return _permissions(chunk) | {SEALED: to_text(Bodies(self.seal).of(chunk))}

    def chunk(self, id_: str, text: str, metadata: Mapping[str, Any], *, lenient: bool = False) -> Chunk:
        """Return the chunk of a record; `lenient` takes one in clear where there is a keyring, too.

        Raises:
            SealError: it is sealed where there is no keyring, or the other way round.
        """
        if SEALED in metadata:
            if self.seal is None:
                refuse_sealed(self.place)
            return Bodies(self.seal).chunk(id_, from_text(metadata[SEALED]), permissions_in(metadata))
        if self.seal is not None and not lenient:
            refuse_clear(self.place)
        return to_chunk(text, metadata)

    def is_outdated(self, metadata: Mapping[str, Any]) -> bool:
        """Tell whether a record is to be sealed anew."""
        sealed = from_text(metadata.get(SEALED))
        return self.seal is not None and is_outdated(self.seal, metadata["tenant"], sealed)


def to_metadata(chunk: Chunk) -> dict[str, Any]:
    """Return all of `chunk` but its text."""
    return _permissions(chunk) | {
        "source": chunk.source,
        "title": chunk.title,
        "start": chunk.start,
        "end": chunk.end,
        "page": chunk.page or NO_PAGE,
        "heading": json.dumps(chunk.heading),
        "page_breaks": json.dumps(chunk.page_breaks),
        "before": chunk.before,
        "after": chunk.after,
        "metadata": json.dumps(chunk.metadata),
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


def _permissions(chunk: Chunk) -> dict[str, Any]:
    return {
        "tenant": chunk.tenant,
        "classification": chunk.classification,
        "readers": list(chunk.readers) or [NOBODY],
    }


def permissions_in(metadata: Mapping[str, Any]) -> Permissions:
    """Return the permissions of the chunk that `metadata` is of."""
    readers = tuple(atom for atom in metadata["readers"] if atom != NOBODY)
    return Permissions(metadata["tenant"], readers, metadata["classification"])
