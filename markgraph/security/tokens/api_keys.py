"""API keys: long-lived secrets of programs, kept as hashes."""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from markgraph.errors import UnauthenticatedError, UsageError
from markgraph.security.caller import Caller
from markgraph.security.tokens.claims import ClaimNames, caller_of_claims, claims_of
from markgraph.security.tokens.store import AuthStore

PREFIX = "mk_"
DAY = 86_400.0
_KEY = re.compile(rf"{PREFIX}([A-Za-z0-9]{{8}})_([A-Za-z0-9_-]{{43}})")
_NOBODY = bytes(32)
_USED_EVERY = 60.0
"""Seconds between two notes of a key's use: a note is a write to the disk."""


@dataclass(frozen=True)
class ApiKey:
    """What may be shown of a key."""

    id: str
    caller: Caller
    expires: str
    used: str | None
    revoked: bool


class ApiKeys:
    """Takes the keys that it has made, `mk_ID_SECRET`, until they expire or are revoked."""

    def __init__(self, store: AuthStore, clock: Callable[[], float] = time.time) -> None:
        """Keep keys in `store`."""
        self._store, self._clock = store, clock

    def takes(self, token: str) -> bool:
        """Tell whether `token` is one that this decides on."""
        return token.startswith(PREFIX)

    def caller(self, token: str) -> Caller:
        """Return whose key `token` is.

        Raises:
            UnauthenticatedError: nobody's, or nobody's any more.
        """
        match = _KEY.fullmatch(token)
        key, secret = match.groups() if match else ("", "")
        found = self._store.rows(
            "select secret, claims, expires, used from api_keys where id = ? and revoked is null", key
        )
        wanted, claims, expires, used = found[0] if found else (_NOBODY, "{}", 0.0, None)
        now = self._clock()
        if not hmac.compare_digest(wanted, hash_of(secret)) or expires <= now:
            raise UnauthenticatedError("The API key is not valid: unknown, expired, or revoked.")
        if used is None or used < now - _USED_EVERY:
            self._store.change("update api_keys set used = ? where id = ?", now, key)
        return caller_of_claims(json.loads(claims), ClaimNames())

    def make(self, caller: Caller, days: float) -> str:
        """Make a key for `caller` and return it; it can't be shown again."""
        key = "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(8))
        secret = secrets.token_urlsafe(32)
        self._store.change(
            "insert into api_keys (id, secret, claims, expires) values (?, ?, ?, ?)",
            key,
            hash_of(secret),
            json.dumps(claims_of(caller)),
            self._clock() + days * DAY,
        )
        return f"{PREFIX}{key}_{secret}"

    def revoke(self, key: str) -> None:
        """Take the key with the id `key` from now on for nobody's.

        Raises:
            UsageError: there is none.
        """
        sql = "update api_keys set revoked = ? where id = ? and revoked is null"
        if not self._store.change(sql, self._clock(), key):
            raise UsageError(f"There is no API key {key!r} to revoke. `markgraph token list` names them.")

    def listed(self) -> list[ApiKey]:
        """Return all keys, the revoked ones too."""
        rows = self._store.rows(
            "select id, claims, expires, used, revoked from api_keys order by expires, id"
        )
        return [
            ApiKey(
                key,
                caller_of_claims(json.loads(claims), ClaimNames()),
                _date(expires),
                None if used is None else _date(used),
                revoked is not None,
            )
            for key, claims, expires, used, revoked in rows
        ]


def hash_of(secret: str) -> bytes:
    """Return what is kept of a secret. It has 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
