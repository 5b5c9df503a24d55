"""Keeps what a citation graph holds of texts sealed: keys as HMACs, references and terms as sealed texts."""

import json
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import quote, unquote

from markgraph.retrieval.bodies import from_text, refuse_clear, refuse_sealed, to_text
from markgraph.security.sealing.keyring import Keyring

SEALED = "sealed/"
"""What the keys of a sealed graph begin with; those in clear are JSON."""
_TEXTS = ("text", "term")
_PLACE = "this collection's citations"


def sealed_row(seal: Keyring, row: dict[str, Any]) -> dict[str, Any]:
    """Return a mention or an anchor of the passage `row["id"]` as it is kept."""
    tenant = _tenant_of(row["key"])
    name = urlsafe_b64encode(seal.hasher(tenant, "citations")(row["key"])[:24]).decode()
    texts = {
        field: to_text(
            seal.seal(tenant, _about(field, row["id"]), row[field].encode("utf-8", "surrogatepass"))
        )
        for field in _TEXTS
        if row.get(field)  # an empty text says nothing
    }
    return row | texts | {"key": f"{SEALED}{quote(tenant, safe='')}/{name}"}


def opened(seal: Keyring | None, key: str, field: str, id_: str, kept: str) -> str:
    """Return the text or the term that was kept of the passage `id_` under `key`.

    Raises:
        SealError: it is sealed where there is no keyring, or the other way round.
    """
    if seal is None:
        if key.startswith(SEALED):
            refuse_sealed(_PLACE)
        return kept
    if not key.startswith(SEALED):
        refuse_clear(_PLACE)
    if not kept:
        return kept
    tenant = unquote(key.split("/")[1])
    return seal.open(tenant, _about(field, id_), from_text(kept)).decode("utf-8", "surrogatepass")


def _tenant_of(key: str) -> str:
    """Return the tenant that a key names, see `markgraph.citations.anchors`."""
    try:
        named = json.loads(key)
    except ValueError:
        return ""
    return str(named[0]) if isinstance(named, list) and named else ""


def _about(field: str, id_: str) -> tuple[str, str]:
    return (f"citation's {field}", id_)
