"""Issues and revokes access tokens: Authlib's OAuth 2 server, with the client credentials grant alone."""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from authlib.oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import OAuth2Request
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc import jwt

from markgraph.errors import ConfigError, UnauthenticatedError, UsageError
from markgraph.security.issuer.clients import Client, Clients
from markgraph.security.issuer.signing_keys import MAX_LIFETIME, SigningKeys
from markgraph.security.tokens.claims import ClaimNames, claims_of
from markgraph.security.tokens.jwks import KeyCache
from markgraph.security.tokens.jwt import LEEWAY, TYPES, AccessTokens, Claims
from markgraph.security.tokens.store import AuthStore

AUTH_METHODS = ["client_secret_basic", "client_secret_post"]
Answer = tuple[int, Any, list[tuple[str, str]]]
"""Status, body, and headers of an HTTP response."""
_OWN_KEYS_SECONDS = 1.0
"""How long the issuer's own server goes without looking at its keys."""


class Issuer(AuthorizationServer):  # type: ignore[misc]  # Authlib has no types
    """Issues tokens to clients, under the name `url`."""

    def __init__(
        self,
        url: str,
        audience: str,
        store: AuthStore,
        lifetime: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep keys, clients and revocations in `store`.

        Raises:
            ConfigError: tokens would live longer than any may, or `url` is no name for an issuer.
        """
        super().__init__()
        if not 1 <= lifetime <= MAX_LIFETIME:
            raise ConfigError(f"auth.lifetime is {lifetime}. Allowed: 1 to {MAX_LIFETIME} seconds.")
        self.url, self.audience, self.lifetime = url.rstrip("/"), audience, lifetime
        self.keys, self.clients = SigningKeys(store, clock), Clients(store)
        self._store, self._clock = store, clock
        own = KeyCache(self.keys.public, fresh=_OWN_KEYS_SECONDS, pause=_OWN_KEYS_SECONDS, clock=clock)
        self.tokens = AccessTokens(
            self.url, audience, own, ClaimNames(), is_revoked=self.is_revoked, clock=clock
        )
        self._check_metadata()
        self.register_grant(_Grant)
        self.register_endpoint(_Revocation)
        self.register_token_generator(
            "default", BearerTokenGenerator(self._token, expires_generator=lifetime)
        )

    def metadata(self) -> dict[str, Any]:
        """Return what the issuer says of itself (RFC 8414)."""
        return {
            "issuer": self.url,
            "token_endpoint": f"{self.url}/oauth/token",
            "revocation_endpoint": f"{self.url}/oauth/revoke",
            "jwks_uri": f"{self.url}/oauth/jwks.json",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": ["none"],  # there has to be one, and there is no such endpoint
            "token_endpoint_auth_methods_supported": AUTH_METHODS,
            "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
        }

    def issue(self, name: str, scope: str | None = None) -> str:
        """Return a token for the client `name`, without asking for its secret.

        Raises:
            UsageError: there is no such client, or it may not have that scope.
        """
        client = self.clients.find(name)
        if client is None:
            raise UsageError(
                f"There is no client {name!r}. Add it: markgraph token add {name} roles=[reader]"
            )
        if client.get_allowed_scope(scope) is None:
            raise UsageError(f"{name!r} may not have scope {scope!r}. Allowed: {client.caller.scopes}.")
        token = self.generate_token("client_credentials", client, scope=scope)
        return str(token["access_token"])

    def revoke(self, token: str) -> None:
        """Make a token of this issuer worthless before it expires.

        Raises:
            UnauthenticatedError: it is worthless already, or of another issuer.
        """
        self.revoke_claims(self.tokens.claims(token))

    def revoke_claims(self, claims: Claims) -> None:
        """Revoke the token that has these claims."""
        with self._store.transaction() as connection:
            connection.execute("delete from revoked where until < ?", (self._clock(),))
            until = float(claims["exp"]) + LEEWAY
            connection.execute("insert or ignore into revoked values (?, ?)", (claims["jti"], until))

    def is_revoked(self, claims: Claims) -> bool:
        """Tell whether a token was revoked, or its client removed."""
        gone = self._store.rows(
            "select exists(select 1 from revoked where jti = ?) or "
            "not exists(select 1 from clients where id = ?)",
            str(claims["jti"]),
            str(claims["client_id"]),
        )
        return bool(gone[0][0])

    def _token(self, client: Client, scope: str, **_: Any) -> str:
        """Return a signed access token (RFC 9068)."""
        now, key = int(self._clock()), self.keys.signing()
        claims = claims_of(client.caller) | {
            "iss": self.url,
            "aud": self.audience,
            "client_id": client.get_client_id(),
            "iat": now,
            "exp": now + self.lifetime,
            "jti": secrets.token_urlsafe(16),
        }
        claims |= {"scope": scope} if scope else {}
        header = {"alg": "Ed25519", "typ": TYPES[0], "kid": key.kid}
        return jwt.encode(header, claims, key, algorithms=["Ed25519"])

    def _check_metadata(self) -> None:
        try:
            AuthorizationServerMetadata(self.metadata()).validate()
        except ValueError as error:
            raise ConfigError(
                f"auth.url={self.url} does not do: {error}. Allowed: https://NAME, or http://127.0.0.1:PORT."
            ) from error

    def query_client(self, client_id: str) -> Client:
        """Return the client that says it is `client_id`; one that can't authenticate, if there is none."""
        return self.clients.claimed(client_id)

    def save_token(self, token: Mapping[str, Any], request: OAuth2Request) -> None:
        """Keep nothing: a token speaks for itself."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Tell nobody."""

    def create_oauth2_request(self, request: "FormRequest") -> "FormRequest":
        """Return the request, which has the right form already."""
        return request

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Answer:
        """Return what a route answers with."""
        return status, body, headers


class FormRequest(OAuth2Request):  # type: ignore[misc]  # Authlib has no types
    """A posted form."""

    def __init__(self, uri: str, form: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """Hold a request to `uri`."""
        super().__init__("POST", uri, headers=headers)
        self._form = form
        self.payload = BasicOAuth2Payload(form)

    @property
    def form(self) -> Mapping[str, str]:
        """Return the form's fields."""
        return self._form


class _Grant(ClientCredentialsGrant):  # type: ignore[misc]  # Authlib has no types
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS


class _Issued(dict[str, Any]):
    """The claims of a token of ours."""

    def check_client(self, client: Client) -> bool:
        """Tell whether the token is this client's."""
        return bool(self["client_id"] == client.get_client_id())


class _Revocation(RevocationEndpoint):  # type: ignore[misc]  # Authlib has no types
    CLIENT_AUTH_METHODS = AUTH_METHODS

    def query_token(self, token_string: str, token_type_hint: object) -> _Issued | None:  # noqa: ARG002
        """Return a token that could be revoked; None, which is no error, for anything else."""
        try:
            return _Issued(self.server.tokens.claims(token_string))
        except UnauthenticatedError:
            return None

    def revoke_token(self, token: _Issued, request: OAuth2Request) -> None:  # noqa: ARG002
        """Revoke a token."""
        self.server.revoke_claims(token)
