"""Whose keys count, and for how long: of an identity provider, and of the own issuer."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from joserfc.jwk import OctKey, OKPKey

from markgraph.errors import ConfigError, ProviderError, StorageError, UnauthenticatedError, UsageError
from markgraph.security.caller import Caller
from markgraph.security.issuer.server import Issuer
from markgraph.security.issuer.signing_keys import MAX_LIFETIME, SigningKeys
from markgraph.security.tokens.api_keys import DAY, ApiKeys
from markgraph.security.tokens.claims import ClaimNames
from markgraph.security.tokens.introspection import OpaqueTokens
from markgraph.security.tokens.jwks import FRESH, PAUSE, STALE, KeyCache
from markgraph.security.tokens.jwt import LEEWAY, AccessTokens
from markgraph.security.tokens.provider import Provider as AskedProvider
from markgraph.security.tokens.sessions import Sessions
from markgraph.security.tokens.store import AuthStore
from tests.security.provider import CLIENT, SECRET, Provider, provider

ADA = Caller("ada", ["reader"], "acme", ["legal"], 2, ["graph:run", "documents:read"])


class Clock:
    """Stands still until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
def idp() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def cache(idp: Provider, clock: Clock) -> KeyCache:
    asked = AskedProvider(idp.url)
    return KeyCache(lambda: asked.get(asked.endpoint("jwks_uri")), clock=clock)


@pytest.fixture
def store(tmp_path: Path) -> AuthStore:
    return AuthStore(str(tmp_path / "auth.sqlite"))


def test_a_new_key_counts_as_soon_as_a_token_names_it(idp: Provider, cache: KeyCache, clock: Clock) -> None:
    cache.find("ed")
    idp.keys["Ed25519"] = OKPKey.generate_key("Ed25519", {"kid": "new", "use": "sig"})
    clock.now += PAUSE
    assert cache.find("new")


def test_a_removed_key_counts_no_longer_than_keys_are_fresh(
    idp: Provider, cache: KeyCache, clock: Clock
) -> None:
    cache.find("ed")
    del idp.keys["Ed25519"]
    clock.now += FRESH
    assert cache.find("ed")
    clock.now += 1
    with pytest.raises(UnauthenticatedError):
        cache.find("ed")


def test_made_up_key_ids_cost_the_provider_nothing(idp: Provider, cache: KeyCache) -> None:
    for number in range(200):
        with pytest.raises(UnauthenticatedError):
            cache.find(f"made-up-{number}")
    assert idp.fetched == 1


def test_known_keys_serve_on_while_the_provider_is_down_but_not_for_ever(
    idp: Provider, cache: KeyCache, clock: Clock
) -> None:
    cache.find("ed")
    idp.down = True
    clock.now += STALE
    assert cache.find("ed")
    clock.now += 1
    with pytest.raises(ProviderError):
        cache.find("ed")
    idp.down = False
    clock.now += PAUSE
    assert cache.find("ed")


def test_a_provider_that_hangs_holds_up_one_request_only(clock: Clock) -> None:
    good = OKPKey.generate_key("Ed25519", {"kid": "ed"}).as_dict(private=False)
    goes_on, asked = Event(), Event()
    goes_on.set()

    def fetch() -> dict[str, object]:
        asked.set()
        assert goes_on.wait(10)
        return {"keys": [good]}

    cache = KeyCache(fetch, clock=clock)
    cache.find("ed")
    goes_on.clear()
    asked.clear()
    clock.now += FRESH + 1
    with ThreadPoolExecutor(1) as pool:
        held_up = pool.submit(cache.find, "ed")
        assert asked.wait(10)
        assert cache.find("ed")
        with pytest.raises(UnauthenticatedError):
            cache.find("made-up")
        assert not held_up.done()
        goes_on.set()
        assert held_up.result()


def test_nobody_is_let_in_before_the_keys_are_known(idp: Provider, cache: KeyCache, clock: Clock) -> None:
    idp.down = True
    tokens = AccessTokens(idp.url, "markgraph", cache, ClaimNames(), clock=clock)
    with pytest.raises(ProviderError):
        tokens.caller(idp.token())


def test_shared_secrets_short_keys_and_keys_for_encryption_do_not_count(clock: Clock) -> None:
    good = OKPKey.generate_key("Ed25519", {"kid": "good"})
    bad = [
        OctKey.generate_key(256, {"kid": "secret"}).as_dict(),
        {"kty": "RSA", "kid": "short", "n": "x" * 171, "e": "AQAB"},
        {**good.as_dict(private=False), "kid": "enc", "use": "enc"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "new", "kid": "unknown"},
        "no object",
    ]
    cache = KeyCache(lambda: {"keys": [*bad, good.as_dict(private=False)]}, clock=clock)
    assert cache.find("good")
    for kid in ("secret", "short", "enc", "broken", "unknown"):
        with pytest.raises(UnauthenticatedError):
            cache.find(kid)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"jwks_uri": "http://localhost:1/jwks"}, "another origin"),
        ({"jwks_uri": "file:///etc/passwd"}, "another origin"),
        ({"jwks_uri": None}, "no jwks_uri"),
    ],
)
def test_a_provider_is_asked_at_its_own_origin_only(changes: dict[str, str], why: str, idp: Provider) -> None:
    idp.extra = changes
    with pytest.raises(ProviderError, match=why):
        AskedProvider(idp.url).endpoint("jwks_uri")


def test_a_redirect_is_not_followed(idp: Provider) -> None:
    with pytest.raises(ProviderError, match="status 307"):
        AskedProvider(idp.url).get(f"{idp.url}/elsewhere")


@pytest.mark.parametrize("url", ["http://id.example", "ftp://id.example", "id.example", "https://"])
def test_a_provider_elsewhere_is_asked_by_https(url: str) -> None:
    with pytest.raises(ConfigError, match="https"):
        AskedProvider(url)


def test_an_opaque_token_is_remembered_for_a_short_time(idp: Provider, clock: Clock) -> None:
    tokens = OpaqueTokens(
        AskedProvider(idp.url), "markgraph", ClaimNames(), CLIENT, lambda: SECRET, clock=clock
    )
    idp.opaque["t"] = idp.claims() | {"active": True}
    assert [tokens.caller("t").subject for _ in range(5)] == ["anna"] * 5
    assert idp.fetched == 1
    idp.opaque.clear()
    clock.now += 31
    with pytest.raises(UnauthenticatedError):
        tokens.caller("t")


def test_an_opaque_token_proves_nobody_while_the_provider_is_down(idp: Provider) -> None:
    tokens = OpaqueTokens(AskedProvider(idp.url), "markgraph", ClaimNames(), CLIENT, lambda: "wrong")
    with pytest.raises(ProviderError):
        tokens.caller("t")


def test_an_api_key_ends_when_it_was_to_or_is_revoked(store: AuthStore, clock: Clock) -> None:
    keys = ApiKeys(store, clock)
    short, revoked = keys.make(ADA, 1), keys.make(ADA, 90)
    assert keys.caller(short) == ADA
    assert [key.used is not None for key in keys.listed()] == [True, False]
    keys.revoke(revoked[3:11])
    clock.now += DAY
    for key in (short, revoked):
        with pytest.raises(UnauthenticatedError):
            keys.caller(key)
    with pytest.raises(UsageError, match="no API key"):
        keys.revoke(revoked[3:11])


def test_no_secret_is_kept_in_clear_and_nobody_else_may_read_the_file(store: AuthStore, clock: Clock) -> None:
    issuer = Issuer("http://127.0.0.1:8000", "markgraph", store, 900)
    kept = [issuer.clients.add(ADA), ApiKeys(store).make(ADA, 1), Sessions(store, 60).begin(ADA)]
    issuer.issue("ada")
    content = b"".join(file.read_bytes() for file in store.path.parent.iterdir())
    assert not [secret for secret in kept if secret[12:].encode() in content]
    assert store.path.stat().st_mode & 0o777 == 0o600
    store.path.chmod(0o640)
    with pytest.raises(StorageError, match="chmod 600"):
        AuthStore(str(store.path)).rows("select 1")


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
