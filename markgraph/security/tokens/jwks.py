"""Keeps the public keys of an issuer: fetched seldom, and kept while the issuer is down."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from markgraph.errors import ProviderError, UnauthenticatedError

FRESH, PAUSE, STALE = 300.0, 10.0, 3600.0
"""Seconds: keys are used without asking again, between two attempts, and at most while nobody answers."""
MIN_RSA_BITS = 2048
MAX_KEYS = 100
PublicKey = RSAKey | ECKey | OKPKey
KINDS: Mapping[str, type[PublicKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class KeyCache:
    """Finds an issuer's key by its id.

    An unknown id makes it ask again, since a key may be new; but not more often than `pause` allows, so
    that made-up ids cost the issuer nothing.
    """

    def __init__(
        self,
        fetch: Callable[[], Mapping[str, Any]],
        fresh: float = FRESH,
        pause: float = PAUSE,
        stale: float = STALE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nobody yet; `fetch` returns a JWK set."""
        self._fetch, self._fresh, self._pause, self._stale, self._clock = fetch, fresh, pause, stale, clock
        self._keys: dict[str, PublicKey] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def find(self, kid: str) -> PublicKey:
        """Return the key `kid`.

        Raises:
            UnauthenticatedError: the issuer has no such key.
            ProviderError: its keys are not known, or not any more, because it can't be asked.
        """
        if kid not in self._keys or self._age() > self._fresh:
            self._refresh(wait=self._age() > self._stale)
        keys, age = self._keys, self._age()
        if age > self._stale:
            raise ProviderError(
                "The keys of the identity provider can't be fetched, so no token can be checked."
            )
        if kid not in keys:
            raise UnauthenticatedError("The token is signed with a key that its issuer does not have.")
        return keys[kid]

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _refresh(self, *, wait: bool) -> None:
        """Fetch the keys, one caller at a time; the others go on with what is there unless they `wait`."""
        if not self._lock.acquire(blocking=wait):
            return
        try:
            if self._clock() - self._tried_at < self._pause:
                return
            self._tried_at = self._clock()
            self._keys = _usable(self._fetch())
            self._fetched_at = self._clock()
        except ProviderError:
            pass  # what is there serves on until it is stale
        finally:
            self._lock.release()


def _usable(jwks: Mapping[str, Any]) -> dict[str, PublicKey]:
    """Return the keys of a JWK set that may verify signatures, by their ids."""
    listed = jwks.get("keys")
    if not isinstance(listed, list):
        raise ProviderError("The identity provider's keys are no JWK set.")
    found: dict[str, PublicKey] = {}
    for jwk in listed[:MAX_KEYS]:
        if isinstance(jwk, dict) and jwk.get("use", "sig") == "sig" and isinstance(jwk.get("kid"), str):
            key = _public(jwk)
            if key is not None:
                found.setdefault(jwk["kid"], key)
    return found


def _public(jwk: dict[str, Any]) -> PublicKey | None:
    """Return a key of a kind that verifies signatures, and no short one; never a shared secret."""
    kind = KINDS.get(str(jwk.get("kty")))
    if kind is None or (kind is RSAKey and len(str(jwk.get("n"))) * 6 < MIN_RSA_BITS):
        return None
    try:
        return kind.import_key(jwk)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
