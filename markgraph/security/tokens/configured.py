"""Makes the doors that take tokens, as `conf/auth` describes them."""

from collections.abc import Sequence
from dataclasses import dataclass

from markgraph.security.doors import TokenDoor, Verifier
from markgraph.security.issuer.server import Issuer
from markgraph.security.tokens.api_keys import ApiKeys
from markgraph.security.tokens.claims import ClaimNames
from markgraph.security.tokens.introspection import OpaqueTokens, secret_in
from markgraph.security.tokens.jwks import KeyCache
from markgraph.security.tokens.jwt import REQUIRED, TYPES, AccessTokens
from markgraph.security.tokens.login import Login
from markgraph.security.tokens.provider import Provider
from markgraph.security.tokens.sessions import Sessions
from markgraph.security.tokens.store import AuthStore


@dataclass(frozen=True)
class Introspection:
    """The client as which this server asks about opaque tokens; without an id it does not."""

    client_id: str | None = None
    secret_file: str | None = None


@dataclass(frozen=True)
class Browser:
    """The client as which this server logs people in; without an id it does not."""

    url: str
    client_id: str | None = None
    secret_file: str | None = None
    scope: str = "openid profile"
    seconds: int = 3600


def dev_door(
    url: str, audience: str, path: str, lifetime: int, hosts: Sequence[str], attempts: int | None = None
) -> TokenDoor:
    """Return a door that takes the tokens of MARK's own issuer, and its API keys.

    Args:
        url: under which clients reach the issuer; tokens bear it as their issuer's name.
        audience: what tokens are for.
        path: the file of keys, clients, and API keys.
        lifetime: seconds that a token lives.
        hosts: names by which clients reach this server.
        attempts: how often a minute somebody unknown may try, from one address.
    """
    store = AuthStore(path)
    issuer = Issuer(url, audience, store, lifetime)
    return TokenDoor((ApiKeys(store), issuer.tokens), hosts, attempts, issuer)


def oidc_door(
    issuer: str,
    audience: str,
    path: str,
    hosts: Sequence[str],
    claims: ClaimNames,
    introspection: Introspection,
    login: Browser,
    origins: Sequence[str] = (),
    types: Sequence[str] = TYPES,
    required: Sequence[str] = REQUIRED,
    attempts: int | None = None,
) -> TokenDoor:
    """Return a door that takes the tokens of an identity provider, and MARK's API keys.

    Args:
        issuer: the provider's URL, exactly as its tokens say it.
        audience: what tokens are for: the name that the provider knows this server by.
        path: the file of API keys and sessions.
        hosts: names by which clients reach this server.
        claims: where tokens say what.
        introspection: how to ask about opaque tokens.
        login: how browsers log in.
        origins: further origins that the provider's endpoints may be at.
        types: `typ` headers of its access tokens.
        required: claims that they must have besides `iss aud exp iat sub`.
        attempts: how often a minute somebody unknown may try, from one address.
    """
    provider, store = Provider(issuer, origins), AuthStore(path)
    keys = KeyCache(lambda: provider.get(provider.endpoint("jwks_uri")))
    signed = AccessTokens(issuer, audience, keys, claims, types=types, required=required)
    verifiers: list[Verifier] = [ApiKeys(store), signed]
    if introspection.client_id:
        secret = secret_in(introspection.secret_file, "auth.introspection.secret_file")
        verifiers.append(OpaqueTokens(provider, audience, claims, introspection.client_id, secret))
    return TokenDoor(verifiers, hosts, attempts, login=_login(login, provider, keys, claims, store))


def _login(
    browser: Browser, provider: Provider, keys: KeyCache, claims: ClaimNames, store: AuthStore
) -> Login | None:
    if browser.client_id is None:
        return None
    file = browser.secret_file
    return Login(
        provider,
        keys,
        claims,
        browser.client_id,
        secret_in(file, "auth.login.secret_file") if file else None,
        browser.url,
        browser.scope,
        Sessions(store, browser.seconds),
    )
