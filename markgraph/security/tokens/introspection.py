"""Opaque tokens: their issuer is asked what they are (RFC 7662)."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from authlib.oauth2.rfc6749.errors import OAuth2Error
from authlib.oauth2.rfc7662 import IntrospectTokenValidator
from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

from markgraph.errors import ConfigError, UnauthenticatedError
from markgraph.security.caller import Caller
from markgraph.security.tokens.claims import ClaimNames, caller_of_claims
from markgraph.security.tokens.provider import Provider

MAX_LENGTH = 4096
MAX_KEPT = 10_000
"""So many active tokens are remembered, and as many others: those cost nothing, and push none of them out."""
KEPT_SECONDS = 30.0
Kept = OrderedDict[bytes, tuple[float, Mapping[str, Any]]]
"""What a provider said of tokens, and until when that counts, by their hashes."""


class OpaqueTokens(IntrospectTokenValidator):  # type: ignore[misc]  # Authlib has no types
    """Takes whatever its provider calls an active token for this server; remembers that for a short time."""

    def __init__(
        self,
        provider: Provider,
        audience: str,
        names: ClaimNames,
        client_id: str,
        secret: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Ask `provider` as the client `client_id`."""
        super().__init__()
        self.provider, self.audience, self.names, self.clock = provider, audience, names, clock
        self._client_id, self._secret = client_id, secret
        self._active: Kept = OrderedDict()
        self._inactive: Kept = OrderedDict()
        self._lock = threading.Lock()

    def takes(self, token: str) -> bool:
        """Tell whether `token` is one that this decides on."""
        return token.count(".") != 2

    def caller(self, token: str) -> Caller:
        """Return who holds `token`.

        Raises:
            UnauthenticatedError: it is not active, or not meant for this server.
            ProviderError: the provider can't be asked.
        """
        if len(token) > MAX_LENGTH:
            raise UnauthenticatedError(f"The token is longer than {MAX_LENGTH} characters.")
        about = self.authenticate_token(token)
        try:
            self.validate_token(about, None, None)
            self._check(about)
        except (OAuth2Error, JoseError) as error:
            raise UnauthenticatedError("The token is not active, or not for here.") from error
        return caller_of_claims(about, self.names)

    def introspect_token(self, token_string: str) -> Mapping[str, Any]:
        """Return what the provider says of a token, now or a moment ago."""
        key = hashlib.sha256(token_string.encode()).digest()
        now = self.clock()
        with self._lock:
            kept = self._active.get(key) or self._inactive.get(key)
        if kept and kept[0] > now:
            return kept[1]
        url = self.provider.endpoint("introspection_endpoint")
        form = {"token": token_string, "token_type_hint": "access_token"}
        about = self.provider.post(url, form, (self._client_id, self._secret()))
        is_active = about.get("active") is True
        about = about if is_active else {"active": False}
        known, other = (self._active, self._inactive) if is_active else (self._inactive, self._active)
        with self._lock:
            other.pop(key, None)
            known[key] = (now + KEPT_SECONDS, about)
            while len(known) > MAX_KEPT:
                known.popitem(last=False)
        return about

    def _check(self, about: Mapping[str, Any]) -> None:
        JWTClaimsRegistry(
            int(self.clock()),
            aud={"essential": True, "value": self.audience},
            exp={"essential": True},
            iss={"value": self.provider.issuer},
        ).validate(dict(about))


def secret_in(file: str | None, key: str) -> Callable[[], str]:
    """Return a function that reads a client's secret when it is needed; the config names its file only.

    Raises:
        ConfigError: `key`, the setting that names it, names none; later, if the file can't be read.
    """
    if file is None:
        raise ConfigError(
            f"{key} is not set. Allowed: a file with the client's secret, which you alone may read."
        )

    def read() -> str:
        try:
            return Path(file).expanduser().read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{key}={file} can't be read: {error}.") from error

    return read
