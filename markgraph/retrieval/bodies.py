"""Turns chunks into what an index keeps of them, sealed where there is a keyring, and back."""

from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import NoReturn, TypeVar

from markgraph.errors import SealError, ShreddedError
from markgraph.retrieval.types import Chunk
from markgraph.security.permissions import Permissions
from markgraph.security.sealing.keyring import Keyring, number_of

T = TypeVar("T")
R = TypeVar("R")
_TERM = 9
"""Bytes of a term's HMAC: among a million terms, two are alike once in 5 billion collections."""


@dataclass(frozen=True)
class Bodies:
    """Seals whole chunks, all but their ids and permissions, each bound to its tenant and id."""

    seal: Keyring

    def of(self, chunk: Chunk) -> bytes:
        """Return `chunk` sealed."""
        plain = chunk.to_json().encode("utf-8", "surrogatepass")
        return self.seal.seal(chunk.tenant, _about(chunk.id), plain)

    def chunk(self, id_: str, sealed: object, permissions: Permissions) -> Chunk:
        """Return the chunk in `sealed`, with the permissions that an index keeps beside it.

        Raises:
            SealError: it is not sealed, or is another chunk.
        """
        plain = self.seal.open(permissions.tenant, _about(id_), sealed)
        return permitted_by(permissions, Chunk.from_json(plain.decode("utf-8", "surrogatepass")))

    def hashed(self, tenant: str) -> Callable[[Sequence[str]], list[str]]:
        """Return a function that gives each term a name that says nothing without the tenant's key."""
        hasher = self.seal.hasher(tenant, "terms")

        @cache
        def name(term: str) -> str:
            return urlsafe_b64encode(hasher(term)[:_TERM]).decode()

        return lambda terms: [name(term) for term in terms]


def permitted_by(permissions: Permissions, chunk: Chunk) -> Chunk:
    """Return `chunk` with the permissions that an index keeps beside it."""
    return replace(
        chunk,
        tenant=permissions.tenant,
        readers=permissions.readers,
        classification=permissions.classification,
    )


def readable(rows: Iterable[T], make: Callable[[T], R]) -> list[R]:
    """Return what `make` makes of `rows`, without those whose tenants were shredded."""
    chunks: list[R] = []
    for row in rows:
        with suppress(ShreddedError):
            chunks.append(make(row))
    return chunks


def to_text(sealed: bytes) -> str:
    """Return sealed bytes as a text, for columns that hold no others."""
    return b64encode(sealed).decode()


def from_text(text: object) -> bytes | None:
    """Return what `to_text` was given; None where that was something else."""
    try:
        sealed = b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return None
    return sealed if number_of(sealed) is not None else None


def refuse_sealed(place: object) -> NoReturn:
    """Say what to do about sealed chunks where there is no keyring."""
    raise SealError(
        f"The documents in {place} are sealed, and there is no keyring: seal=none. Set seal=keyring, for all "
        "commands alike."
    )


def refuse_clear(place: object) -> NoReturn:
    """Say what to do about chunks in clear where there is a keyring."""
    raise SealError(
        f"The documents in {place} are not sealed, and seal=keyring takes no others. Run `markgraph keys "
        "reseal seal=keyring` once, go on with seal=none, or ingest into another collection."
    )


def _about(id_: str) -> tuple[str, str]:
    return ("document's chunk", id_)
