"""Logs people in by their browsers: OpenID Connect's authorization code flow with PKCE."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from authlib.oauth2.client import OAuth2Client
from joserfc.errors import JoseError
from joserfc.jwt import JWTClaimsRegistry

from markgraph.errors import ConfigError, UnauthenticatedError
from markgraph.security.caller import Caller
from markgraph.security.doors import is_loopback
from markgraph.security.tokens.claims import ClaimNames, caller_of_claims
from markgraph.security.tokens.jwks import KeyCache
from markgraph.security.tokens.jwt import LEEWAY, verify
from markgraph.security.tokens.provider import Provider
from markgraph.security.tokens.sessions import Sessions


@dataclass(frozen=True)
class Login:
    """How this server's pages log people in at an identity provider."""

    provider: Provider
    keys: KeyCache
    names: ClaimNames
    client_id: str
    secret: Callable[[], str] | None
    """None: a client without a secret, which PKCE alone protects."""
    url: str
    """Where browsers reach this server."""
    scope: str
    sessions: Sessions

    def __post_init__(self) -> None:
        """Check the URL.

        Raises:
            ConfigError: cookies would travel in clear.
        """
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ConfigError(
                f"auth.login.url is {self.url}. Allowed: https://NAME, or http:// at this machine."
            )

    @property
    def origin(self) -> str:
        """Return the origin that pages of this server have."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def cookie(self) -> str:
        """Return the name of the session's cookie; browsers keep `__Host-` ones to one host and to https."""
        return "__Host-mark" if self.secure else "mark"

    @property
    def secure(self) -> bool:
        """Tell whether cookies travel by https only."""
        return self.url.startswith("https:")

    def begin(self) -> tuple[str, dict[str, str]]:
        """Return where to send the browser, and what `finish` must be told of this attempt."""
        attempt = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        client = OAuth2Client(
            None,
            client_id=self.client_id,
            scope=self.scope,
            redirect_uri=self._callback,
            code_challenge_method="S256",
        )
        url, _ = client.create_authorization_url(
            self.provider.endpoint("authorization_endpoint"),
            state=attempt["state"],
            code_verifier=attempt["verifier"],
            nonce=attempt["nonce"],
        )
        return str(url), attempt

    def finish(self, attempt: dict[str, str], answer: dict[str, str]) -> str:
        """Return the cookie of the new session, from what the browser has brought from the provider.

        Raises:
            UnauthenticatedError: it belongs to another attempt, or the provider's word is not to be trusted.
            ProviderError: the provider can't be asked.
        """
        if not secrets.compare_digest(answer.get("state", "").encode(), attempt["state"].encode()):
            raise UnauthenticatedError("This answer belongs to another login. Begin again at /login.")
        if "code" not in answer or answer.get("iss", self.provider.issuer) != self.provider.issuer:
            raise UnauthenticatedError("The identity provider has not let you in. Begin again at /login.")
        form = {
            "grant_type": "authorization_code",
            "code": answer["code"],
            "redirect_uri": self._callback,
            "code_verifier": attempt["verifier"],
        }
        auth = None if self.secret is None else (self.client_id, self.secret())
        form |= {"client_id": self.client_id} if auth is None else {}
        token = self.provider.post(self.provider.endpoint("token_endpoint"), form, auth)
        return self.sessions.begin(self._caller(str(token.get("id_token", "")), attempt["nonce"]))

    def _caller(self, id_token: str, nonce: str) -> Caller:
        """Return whom the provider's ID token names (OpenID Connect Core, 3.1.3.7)."""
        try:
            claims: dict[str, Any] = verify(id_token, self.keys).claims
            JWTClaimsRegistry(
                leeway=LEEWAY,
                iss={"essential": True, "value": self.provider.issuer},
                aud={"essential": True, "value": self.client_id},
                azp={"value": self.client_id},
                nonce={"essential": True, "value": nonce},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
            ).validate(claims)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            raise UnauthenticatedError("The identity provider's token is not valid. Begin again.") from error
        return caller_of_claims(claims, self.names)

    @property
    def _callback(self) -> str:
        return f"{self.url.rstrip('/')}/login/callback"
