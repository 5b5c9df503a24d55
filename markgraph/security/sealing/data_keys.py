"""Keeps the keys of tenants, wrapped by a master key, in an SQLite file."""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from markgraph.errors import SealError, ShreddedError, UsageError
from markgraph.retrieval.storage import open_database
from markgraph.security.sealing.masters import KEY_BYTES, Masters

HASHING = 0
"""The number of the key for hashes, which stays; those that seal count from 1."""
_LAYOUT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS data_keys (
    tenant TEXT, number INTEGER, master TEXT NOT NULL, wrapped BLOB NOT NULL,
    PRIMARY KEY (tenant, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shredded (tenant TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
"""
_NONCE = 12


@dataclass(frozen=True)
class TenantKeys:
    """The keys of one tenant, unwrapped."""

    newest: int
    ciphers: dict[int, AESGCM]
    hashing: bytes


@dataclass
class KeyTable:
    """What a keyring knows; every method is one transaction."""

    file: Path
    path: Path

    def version(self) -> int:
        """Return a number that changes when another connection has written."""
        return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def keys(self, tenant: str, *, make: bool) -> TenantKeys:
        """Return the keys of a tenant, made now if there are none and `make` says so.

        Raises:
            ShreddedError: they were deleted.
            SealError: there are none, or they can't be unwrapped.
        """
        with self.transaction() as database:
            wrapped = self._wrapped(database, tenant)
            if not wrapped:
                self.refuse_shredded(database, tenant)
        if not wrapped and make:
            with self.transaction("IMMEDIATE") as database:
                self.refuse_shredded(database, tenant)
                wrapped = self._wrapped(database, tenant) or self._made(database, tenant)
        if not wrapped:
            raise SealError(
                f"There is no key for tenant {tenant!r} in {self.path}. Restore that file from the same time "
                "as what is sealed."
            )
        plain = self._unwrapped(tenant, wrapped)
        ciphers = {number: AESGCM(key) for number, key in plain.items() if number != HASHING}
        return TenantKeys(max(ciphers), ciphers, plain[HASHING])

    def rotate(self) -> str:
        """Make a new master, wrap every key with it, and add a new one for each tenant."""
        with self.transaction("IMMEDIATE") as database:
            tenants = [tenant for (tenant,) in database.execute("SELECT DISTINCT tenant FROM data_keys")]
            if tenants:
                self._masters.read()  # refuses to make a first master where another has wrapped keys
            kid = self._masters.add()
            for tenant in tenants:
                plain = self._unwrapped(tenant, self._wrapped(database, tenant))
                plain[max(plain) + 1] = secrets.token_bytes(KEY_BYTES)
                self._store(database, tenant, plain)
            return kid

    def rotate_tenant(self, tenant: str) -> int:
        """Add a new key for one tenant, and return its number.

        Raises:
            UsageError: it has no keys.
        """
        with self.transaction("IMMEDIATE") as database:
            plain = self._unwrapped(tenant, self._wrapped(database, tenant))
            if not plain:
                raise _no_keys(database, tenant)
            newest = max(plain) + 1
            self._store(database, tenant, {newest: secrets.token_bytes(KEY_BYTES)})
            return newest

    def retire(self) -> list[str]:
        """Forget the masters that wrap nothing, but for the last."""
        with self.transaction("IMMEDIATE") as database:
            used = {kid for (kid,) in database.execute("SELECT DISTINCT master FROM data_keys")}
            *others, _ = self._masters.read()
            unused = [kid for kid in others if kid not in used]
            if unused:
                self._masters.drop(unused)
            return unused

    def shred(self, tenant: str) -> None:
        """Delete the keys of a tenant, and what SQLite may still hold of them."""
        with self.transaction("IMMEDIATE") as database:
            if not database.execute("DELETE FROM data_keys WHERE tenant = ?", (tenant,)).rowcount:
                raise _no_keys(database, tenant)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            database.execute("INSERT OR REPLACE INTO shredded VALUES (?, ?)", (tenant, now))
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @staticmethod
    def names(database: sqlite3.Connection) -> tuple[dict[str, int], dict[str, int], list[str]]:
        """Return how much each master wraps, the newest key of each tenant, and who was shredded."""
        masters = database.execute("SELECT master, count(*) FROM data_keys GROUP BY master ORDER BY master")
        tenants = database.execute(
            "SELECT tenant, max(number) FROM data_keys GROUP BY tenant ORDER BY tenant"
        )
        shredded = database.execute("SELECT tenant FROM shredded ORDER BY tenant")
        return dict(masters.fetchall()), dict(tenants.fetchall()), [name for (name,) in shredded]

    @staticmethod
    def refuse_shredded(database: sqlite3.Connection, tenant: str) -> None:
        """Refuse a tenant whose keys were shredded.

        Raises:
            ShreddedError: they were.
        """
        row = database.execute("SELECT at FROM shredded WHERE tenant = ?", (tenant,)).fetchone()
        if row:
            raise ShreddedError(
                f"The keys of tenant {tenant!r} were shredded at {row[0]}: nothing of it can be read any "
                "more, and nothing new is kept under its name. Choose another name for a new tenant: "
                "auth.caller.tenant=NAME."
            )

    @contextmanager
    def transaction(self, kind: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        """Do all of it, or nothing."""
        self._database.execute(f"BEGIN {kind}")
        try:
            yield self._database
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _made(self, database: sqlite3.Connection, tenant: str) -> dict[int, tuple[str, bytes]]:
        self._store(database, tenant, {number: secrets.token_bytes(KEY_BYTES) for number in (HASHING, 1)})
        return self._wrapped(database, tenant)

    def _store(self, database: sqlite3.Connection, tenant: str, plain: dict[int, bytes]) -> None:
        """Wrap keys with the last master, and keep them so."""
        kid, master = list(self._masters.read().items())[-1]
        for number, key in plain.items():
            nonce = os.urandom(_NONCE)
            wrapped = nonce + AESGCM(master).encrypt(nonce, key, _bound(tenant, number, kid))
            database.execute(
                "INSERT OR REPLACE INTO data_keys VALUES (?, ?, ?, ?)", (tenant, number, kid, wrapped)
            )

    def _unwrapped(self, tenant: str, wrapped: dict[int, tuple[str, bytes]]) -> dict[int, bytes]:
        masters = self._masters.read()
        try:
            return {
                number: AESGCM(masters[kid]).decrypt(key[:_NONCE], key[_NONCE:], _bound(tenant, number, kid))
                for number, (kid, key) in wrapped.items()
            }
        except (KeyError, InvalidTag):
            kids = sorted({kid for kid, _ in wrapped.values()})
            raise SealError(
                f"The keys of tenant {tenant!r} in {self.path} were wrapped by {', '.join(kids)}, and the "
                f"keyring {self.file} holds {', '.join(masters)}, which do not open them. Restore the "
                "keyring that belongs to this folder."
            ) from None

    @staticmethod
    def _wrapped(database: sqlite3.Connection, tenant: str) -> dict[int, tuple[str, bytes]]:
        rows = database.execute("SELECT number, master, wrapped FROM data_keys WHERE tenant = ?", (tenant,))
        return {number: (kid, wrapped) for number, kid, wrapped in rows}

    @cached_property
    def _masters(self) -> Masters:
        return Masters(self.file)

    @cached_property
    def _database(self) -> sqlite3.Connection:
        database = open_database(self.path, _LAYOUT, _SCHEMA)
        for pragma in ("secure_delete = ON", "synchronous = FULL"):
            database.execute(f"PRAGMA {pragma}")
        return database


def _no_keys(database: sqlite3.Connection, tenant: str) -> UsageError:
    there = database.execute("SELECT DISTINCT tenant FROM data_keys ORDER BY tenant")
    names = ", ".join(name for (name,) in there) or "none"
    return UsageError(f"Tenant {tenant!r} has no keys. Tenants that have: {names}.")


def _bound(tenant: str, number: int, kid: str) -> bytes:
    return repr((tenant, number, kid)).encode()
