"""The issuer's Ed25519 keys, and when each of them signs."""

import json
import time
from collections.abc import Callable
from typing import Any

from joserfc.jwk import OKPKey

from markgraph.security.tokens.jwks import FRESH
from markgraph.security.tokens.store import AuthStore

MAX_LIFETIME = 3600
"""Seconds that the longest token lives."""
_KEPT = MAX_LIFETIME + 60
"""Seconds that a key which signs no more is still published; a minute for clocks that differ."""


class SigningKeys:
    """Keeps the issuer's keys. A new one is published first, and signs when everybody may know it.

    What a key does follows from the time alone: the newest key whose time has come signs, and one that was
    replaced longer ago than any token lives is dropped. Nothing has to run in between.
    """

    def __init__(self, store: AuthStore, clock: Callable[[], float] = time.time) -> None:
        """Keep keys in `store`."""
        self._store, self._clock = store, clock

    def signing(self) -> OKPKey:
        """Return the key that signs now; makes the first one."""
        now = self._clock()
        with self._store.transaction() as connection:
            connection.execute("begin immediate")
            found = connection.execute(
                "select jwk from signing_keys where signs <= ? order by signs desc limit 1", (now,)
            ).fetchone()
            jwk = json.loads(found[0]) if found else self._add(connection, now)
        return OKPKey.import_key(jwk)

    def rotate(self, *, at_once: bool = False) -> str:
        """Make the key that signs next, and return its id.

        Args:
            at_once: the current keys are no secret any more: drop them, and with them all tokens.
        """
        now = self._clock()
        with self._store.transaction() as connection:
            connection.execute("begin immediate")
            if at_once:
                connection.execute("delete from signing_keys")
            known = connection.execute("select count(*) from signing_keys").fetchone()[0]
            return str(self._add(connection, now + FRESH if known else now)["kid"])

    def public(self) -> dict[str, Any]:
        """Return the JWK set to publish: keys that sign, will sign, or have signed what still lives."""
        self.signing()
        self._drop()
        rows = self._store.rows("select jwk from signing_keys order by signs")
        keys = [OKPKey.import_key(json.loads(jwk)).as_dict(private=False) for (jwk,) in rows]
        return {"keys": [{**key, "use": "sig", "alg": "Ed25519"} for key in keys]}

    def _drop(self) -> None:
        """Drop the keys that were replaced long ago."""
        cut = "select max(signs) from signing_keys where signs <= ?"
        self._store.change(f"delete from signing_keys where signs < ({cut})", self._clock() - _KEPT)  # noqa: S608

    def _add(self, connection: Any, signs: float) -> dict[str, Any]:
        key = OKPKey.generate_key("Ed25519", auto_kid=True)
        jwk = {**key.as_dict(private=True), "kid": key.kid}
        sql = "insert into signing_keys (kid, jwk, signs) values (?, ?, ?)"
        connection.execute(sql, (key.kid, json.dumps(jwk), signs))
        return jwk
