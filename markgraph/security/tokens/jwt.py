"""Signed access tokens: JWTs as RFC 9068 profiles them."""

import base64
import json
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from authlib.oauth2.rfc6749.errors import OAuth2Error
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims
from joserfc import jwt
from joserfc.errors import JoseError

from markgraph.errors import UnauthenticatedError
from markgraph.security.caller import Caller
from markgraph.security.tokens.claims import ClaimNames, caller_of_claims
from markgraph.security.tokens.jwks import KeyCache

ALGORITHMS = ("RS256", "ES256", "Ed25519")
TYPES = ("at+jwt", "application/at+jwt")
REQUIRED = ("client_id", "jti")
LEEWAY = 30
MAX_LENGTH = 8192
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
Claims = Mapping[str, Any]


class AccessTokens(JWTBearerTokenValidator):  # type: ignore[misc]  # Authlib has no types
    """Takes the signed access tokens of one issuer that are meant for this server."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: KeyCache,
        names: ClaimNames,
        *,
        types: Collection[str] = TYPES,
        required: Sequence[str] = REQUIRED,
        is_revoked: Callable[[Claims], bool] = lambda _: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Trust tokens of `issuer` for `audience`; `is_revoked` refuses some that would do otherwise."""
        super().__init__(issuer, audience)
        self.keys, self.names, self.types, self.required = keys, names, types, required
        self.is_revoked, self.clock = is_revoked, clock

    def takes(self, token: str) -> bool:
        """Tell whether `token` is one that this decides on."""
        return token.count(".") == 2

    def caller(self, token: str) -> Caller:
        """Return who holds `token`.

        Raises:
            UnauthenticatedError: it is not to be trusted.
            ProviderError: it can't be checked now.
        """
        return caller_of_claims(self.claims(token), self.names)

    def claims(self, token: str) -> Claims:
        """Return the claims of `token`, all of them checked."""
        try:
            found = self.authenticate_token(token)
            found.validate(now=int(self.clock()), leeway=LEEWAY)
        except (JoseError, OAuth2Error, ValueError, TypeError, RecursionError) as error:
            raise UnauthenticatedError("The token is not valid: forged, expired, or not for here.") from error
        claims: Claims = found
        if "cnf" in claims:
            raise UnauthenticatedError(
                "The token is bound to a key of its holder (cnf), so it is no bearer token."
            )
        if self.is_revoked(claims):
            raise UnauthenticatedError("The token was revoked.")
        return claims

    def authenticate_token(self, token_string: str) -> JWTAccessTokenClaims:
        """Return the claims of a token whose signature is right."""
        verified = verify(token_string, self.keys)
        if str(verified.header.get("typ", "")).lower() not in self.types:
            raise UnauthenticatedError("The token is no access token.")
        essential = {name: {"essential": True} for name in ("exp", "iat", "sub", *self.required)}
        options = essential | {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": self.resource_server},
        }
        header = {"typ": TYPES[0]}  # checked above; Authlib would insist on RFC 9068's
        return JWTAccessTokenClaims(verified.claims, header, options)


def verify(token: str, keys: KeyCache) -> jwt.Token:
    """Return a JWT whose signature is by the one of `keys` that it names.

    Raises:
        UnauthenticatedError, JoseError, ValueError: it isn't.
        ProviderError: the keys are not known.
    """
    if len(token) > MAX_LENGTH or not _COMPACT.fullmatch(token):
        raise UnauthenticatedError("The token is no JWT of a sensible length.")
    head, _, _ = map(_decoded, token.split("."))
    header = json.loads(head)
    kid = header.get("kid") if isinstance(header, dict) else None
    if not isinstance(kid, str) or "crit" in header:
        raise UnauthenticatedError("The token names no key, or asks for what nobody here understands.")
    return jwt.decode(token, keys.find(kid), algorithms=ALGORITHMS)


def _decoded(part: str) -> bytes:
    """Return the bytes that `part` stands for, if it is the one way to write them."""
    decoded = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != part:
        raise UnauthenticatedError("The token is no JWT: another one decodes to the same bytes.")
    return decoded
