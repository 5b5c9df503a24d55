"""Seals what is kept on disk: a tenant's data under keys of its own, bound to what they are data of."""

import hmac
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from markgraph.errors import SealError
from markgraph.retrieval.storage import storage_errors
from markgraph.security.sealing.data_keys import KeyTable, TenantKeys

MAGIC = b"\x93MS1"
"""What sealed bytes begin with, then the number of their key; msgpack, JSON and UTF-8 never begin so."""
_NUMBER, _NONCE = 4, 12
_HEADER = len(MAGIC) + _NUMBER


class Names(NamedTuple):
    """What `Keyring.names` says: ids only, never a key."""

    masters: dict[str, int]
    """How many keys each master wraps; the last one is the one that wraps what is new."""
    tenants: dict[str, int]
    """The number of the key that seals what is new of each tenant."""
    shredded: list[str]


@dataclass
class Keyring:
    """AES-256-GCM. Each tenant has random keys of its own, which are kept wrapped by a master key.

    Whoever changes the keys in another process is noticed at the next use.
    """

    file: Path
    """The master keys, see `markgraph.security.sealing.masters`."""
    path: Path
    """The tenants' wrapped keys, an SQLite file."""
    _table: KeyTable = field(init=False, repr=False, compare=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)
    _known: dict[str, TenantKeys] = field(default_factory=dict, init=False, repr=False, compare=False)
    _version: int = field(default=-1, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.file, self.path = Path(self.file).expanduser(), Path(self.path).expanduser()
        self._table = KeyTable(self.file, self.path)

    def seal(self, tenant: str, about: tuple[str, ...], plain: bytes) -> bytes:
        """Return `plain` sealed; it opens only for the same tenant and `about`.

        Args:
            tenant: whose it is; the first thing that is sealed of a tenant makes its key.
            about: what it is, and where it belongs, such as `("chunk", ID)`.
            plain: anything.

        Raises:
            SealError: there are no master keys.
            ShreddedError: the tenant was shredded.
        """
        keys = self._keys(tenant, make=True)
        header = MAGIC + keys.newest.to_bytes(_NUMBER, "big")
        nonce = os.urandom(_NONCE)
        return header + nonce + keys.ciphers[keys.newest].encrypt(nonce, plain, _bound(header, tenant, about))

    def open(self, tenant: str, about: tuple[str, ...], sealed: object) -> bytes:
        """Return what was sealed.

        Raises:
            SealError: it is not sealed, is damaged, or was sealed as something else or for another tenant.
            ShreddedError: the tenant was shredded.
        """
        number = number_of(sealed)
        if number is None or not isinstance(sealed, bytes):
            raise SealError(
                f"The {about[0]} of tenant {tenant!r} is not sealed, and seal=keyring takes nothing else. If "
                "it is from before, run `markgraph keys reseal seal=keyring`; otherwise don't trust it."
            )
        cipher = self._keys(tenant, make=False).ciphers.get(number)
        try:
            if cipher is None:
                raise InvalidTag
            nonce, rest = sealed[_HEADER : _HEADER + _NONCE], sealed[_HEADER + _NONCE :]
            return cipher.decrypt(nonce, rest, _bound(sealed[:_HEADER], tenant, about))
        except (InvalidTag, ValueError):
            raise SealError(
                f"The {about[0]} of tenant {tenant!r} does not open: it is damaged, belongs to something "
                "else, or was sealed with other keys. Restore it, or the keyring, from the same time."
            ) from None

    def check(self, tenant: str) -> None:
        """Make sure that something of a tenant may be sealed.

        Raises:
            ShreddedError: the tenant was shredded.
        """
        with storage_errors(self.path), self._lock, self._table.transaction() as database:
            self._table.refuse_shredded(database, tenant)

    def is_current(self, tenant: str, sealed: object) -> bool:
        """Tell whether something is sealed with the tenant's newest key."""
        return number_of(sealed) == self._keys(tenant, make=True).newest

    def hasher(self, tenant: str, purpose: str) -> Callable[[str], bytes]:
        """Return a function that turns texts into HMACs which tell nobody without the key what they were.

        They stay the same when keys are rotated.
        """
        key = hmac.digest(self._keys(tenant, make=True).hashing, purpose.encode(), "sha256")
        return lambda text: hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")

    def rotate(self) -> str:
        """Make a new master and a new key for each tenant; return the master's id.

        The old keys are wrapped by the new master, too; they go on opening what they sealed.
        """
        with self._changing() as table:
            return table.rotate()

    def rotate_tenant(self, tenant: str) -> int:
        """Make a new key for one tenant, and return its number; masters and other tenants' keys stay.

        Raises:
            UsageError: it has none yet.
        """
        with self._changing() as table:
            return table.rotate_tenant(tenant)

    def retire(self) -> list[str]:
        """Forget the masters that wrap nothing any more, and return their ids."""
        with self._changing() as table:
            return table.retire()

    def shred(self, tenant: str) -> None:
        """Delete the keys of a tenant: nothing that they sealed can be read again, by anybody.

        Raises:
            UsageError: it has none.
        """
        with self._changing() as table:
            table.shred(tenant)

    def names(self) -> Names:
        """Return what there is."""
        with storage_errors(self.path), self._lock, self._table.transaction() as database:
            return Names(*self._table.names(database))

    @contextmanager
    def _changing(self) -> Iterator[KeyTable]:
        with storage_errors(self.path), self._lock:
            yield self._table
            self._known.clear()

    def _keys(self, tenant: str, *, make: bool) -> TenantKeys:
        with self._lock:
            try:
                version = self._table.version()
            except sqlite3.Error as error:
                raise SealError(f"Could not read the keys in {self.path}: {error}.") from error
            if version != self._version:  # another process has changed the keys
                self._known.clear()
                self._version = version
            if tenant not in self._known:
                with storage_errors(self.path):
                    self._known[tenant] = self._table.keys(tenant, make=make)
            return self._known[tenant]


def number_of(sealed: object) -> int | None:
    """Return the number of the key that sealed something; None where it isn't sealed."""
    if not isinstance(sealed, bytes) or len(sealed) < _HEADER + _NONCE or not sealed.startswith(MAGIC):
        return None
    return int.from_bytes(sealed[len(MAGIC) : _HEADER], "big")


def none() -> None:
    """Seal nothing."""


def _bound(header: bytes, tenant: str, about: tuple[str, ...]) -> bytes:
    return header + json.dumps([tenant, *about]).encode()
