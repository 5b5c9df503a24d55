"""The own issuer: what its tokens say, when they end, and how its keys change."""

import pytest

from markgraph.errors import ConfigError, UnauthenticatedError, UsageError
from markgraph.security.caller import Caller
from markgraph.security.issuer.server import Issuer
from markgraph.security.issuer.signing_keys import MAX_LIFETIME, SigningKeys
from markgraph.security.tokens.claims import ClaimNames
from markgraph.security.tokens.jwks import FRESH, KeyCache
from markgraph.security.tokens.jwt import LEEWAY, AccessTokens
from markgraph.security.tokens.store import AuthStore
from tests.security.conftest import ADA, Clock


@pytest.fixture
def issuer(store: AuthStore, clock: Clock) -> Issuer:
    made = Issuer("http://127.0.0.1:8000", "markgraph", store, 900, clock)
    made.clients.add(ADA)
    return made


def test_a_token_of_the_issuer_says_what_its_client_is(issuer: Issuer, clock: Clock) -> None:
    token = issuer.issue("ada")
    assert issuer.tokens.caller(token) == ADA
    assert issuer.tokens.caller(issuer.issue("ada", "graph:run")).scopes == ("graph:run",)
    with pytest.raises(UsageError, match="may not have scope"):
        issuer.issue("ada", "graph:run tokens:manage")
    clock.now += 900 + LEEWAY
    with pytest.raises(UnauthenticatedError):
        issuer.tokens.caller(token)


def test_a_revoked_token_and_those_of_a_removed_client_are_worth_nothing(
    issuer: Issuer, store: AuthStore, clock: Clock
) -> None:
    one, other = issuer.issue("ada"), issuer.issue("ada")
    elsewhere = Issuer("http://127.0.0.1:8000", "markgraph", AuthStore(str(store.path)), 900, clock)
    issuer.revoke(one)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        elsewhere.tokens.caller(one)
    assert elsewhere.tokens.caller(other) == ADA
    issuer.clients.remove("ada")
    with pytest.raises(UnauthenticatedError, match="revoked"):
        elsewhere.tokens.caller(other)


def test_no_token_of_a_server_that_fetches_keys_seldom_is_refused_while_keys_change(
    issuer: Issuer, clock: Clock
) -> None:
    """Walk two rotations in steps of half a minute, with a token of each step in use until it expires."""
    cache = KeyCache(issuer.keys.public, clock=clock)
    far = AccessTokens(issuer.url, "markgraph", cache, ClaimNames(), clock=clock)
    alive: list[tuple[float, str]] = []
    kids = set()
    for step in range(200):
        if step in (20, 100):
            issuer.keys.rotate()
        alive = [(until, token) for until, token in alive if until > clock.now]
        alive.append((clock.now + 900, issuer.issue("ada")))
        kids.add(issuer.keys.signing().kid)
        assert [far.caller(token) for _, token in alive] == [ADA] * len(alive)
        clock.now += 30
    assert len(kids) == 3
    assert len(issuer.keys.public()["keys"]) <= 2


def test_a_key_is_published_before_it_signs_and_dropped_after_the_longest_token(
    store: AuthStore, clock: Clock
) -> None:
    keys = SigningKeys(store, clock)
    old = keys.signing().kid
    new = keys.rotate()
    assert [key["kid"] for key in keys.public()["keys"]] == [old, new]
    assert keys.signing().kid == old
    clock.now += FRESH
    assert keys.signing().kid == new
    clock.now += MAX_LIFETIME
    assert len(keys.public()["keys"]) == 2
    clock.now += 61
    assert [key["kid"] for key in keys.public()["keys"]] == [new]
    assert "d" not in keys.public()["keys"][0]


def test_a_stolen_key_is_dropped_at_once(issuer: Issuer, clock: Clock) -> None:
    token = issuer.issue("ada")
    issuer.tokens.caller(token)
    issuer.keys.rotate(at_once=True)
    clock.now += 2
    with pytest.raises(UnauthenticatedError):
        issuer.tokens.caller(token)
    assert issuer.tokens.caller(issuer.issue("ada")) == ADA


@pytest.mark.parametrize("name", ["", "a b", "../x", "a" * 101, "ä"])
def test_a_client_has_a_plain_name(name: str, issuer: Issuer) -> None:
    with pytest.raises(UsageError, match="no name for a client"):
        issuer.clients.add(Caller(name))


def test_a_client_is_added_once(issuer: Issuer) -> None:
    with pytest.raises(UsageError, match="already"):
        issuer.clients.add(ADA)


@pytest.mark.parametrize(("url", "lifetime"), [("http://mark.example", 900), ("x", 900), ("https://x", 7200)])
def test_an_issuer_has_a_safe_name_and_short_tokens(url: str, lifetime: int, store: AuthStore) -> None:
    with pytest.raises(ConfigError, match=r"auth\.(url|lifetime)"):
        Issuer(url, "markgraph", store, lifetime)
