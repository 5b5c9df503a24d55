"""Keeps the metadata of documents in a ledger, sealed where there is a keyring."""

import json
import sqlite3
from collections.abc import Callable

from markgraph.retrieval.bodies import refuse_clear, refuse_sealed
from markgraph.retrieval.chunk_rows import is_outdated
from markgraph.security.sealing.keyring import Keyring

NOTHING = "{}"
"""The one value that is never sealed: it says nothing, and most documents have it."""
_ROWS = "SELECT id, tenant, source, metadata FROM documents WHERE metadata <> '{}'"


def to_column(seal: Keyring | None, tenant: str, source: str, metadata: dict[str, str]) -> str | bytes:
    """Return what is kept of the metadata of a document."""
    plain = json.dumps(metadata)
    if seal is None or plain == NOTHING:
        return plain
    return seal.seal(tenant, _about(source), plain.encode())


def from_column(seal: Keyring | None, tenant: str, source: str, kept: str | bytes) -> dict[str, str]:
    """Return the metadata of a document.

    Raises:
        SealError: it is sealed where there is no keyring, or the other way round.
    """
    if kept == NOTHING:
        return {}
    if seal is None and isinstance(kept, bytes):
        refuse_sealed("this collection's ledger")
    if seal is not None and isinstance(kept, str):
        refuse_clear("this collection's ledger")
    plain = kept if seal is None else seal.open(tenant, _about(source), kept)
    metadata: dict[str, str] = json.loads(plain)
    return metadata


def reseal_metadata(seal: Keyring, database: sqlite3.Connection, progress: Callable[[int], object]) -> int:
    """Seal the metadata that isn't, or is under an old key, and return of how many documents."""
    sealed = 0
    for id_, tenant, source, kept in database.execute(_ROWS).fetchall():
        progress(1)
        if is_outdated(seal, tenant, kept):
            metadata = from_column(seal if isinstance(kept, bytes) else None, tenant, source, kept)
            new = to_column(seal, tenant, source, metadata)
            database.execute("UPDATE documents SET metadata = ? WHERE id = ?", (new, id_))
            sealed += 1
    return sealed


def _about(source: str) -> tuple[str, str]:
    return ("document's metadata", source)
