"""Whose keys count, and for how long; API keys, and what is kept."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from joserfc.jwk import OctKey, OKPKey

from markgraph.build import compose, make
from markgraph.errors import ConfigError, ProviderError, StorageError, UnauthenticatedError, UsageError
from markgraph.security.issuer.server import Issuer
from markgraph.security.tokens.api_keys import DAY, ApiKeys
from markgraph.security.tokens.claims import ClaimNames
from markgraph.security.tokens.introspection import OpaqueTokens, secret_in
from markgraph.security.tokens.jwks import FRESH, PAUSE, STALE, KeyCache
from markgraph.security.tokens.jwt import AccessTokens
from markgraph.security.tokens.provider import Provider as AskedProvider
from markgraph.security.tokens.sessions import Sessions
from markgraph.security.tokens.store import AuthStore
from tests.security.conftest import ADA, Clock
from tests.security.provider import CLIENT, SECRET, Provider, provider


@pytest.fixture
def idp() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture
def cache(idp: Provider, clock: Clock) -> KeyCache:
    asked = AskedProvider(idp.url)
    return KeyCache(lambda: asked.get(asked.endpoint("jwks_uri")), clock=clock)


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


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"[]", "did not answer with a JSON object"),
        (b"<html>", "Could not ask"),
        (b"[" * 100_000, "Could not ask"),
        (b" " * 1_000_001, "answers with more than 1000000 bytes"),
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(answer: bytes, why: str, idp: Provider) -> None:
    idp.strange = answer
    with pytest.raises(ProviderError, match=why):
        AskedProvider(idp.url).get(f"{idp.url}/strange")


def test_keys_that_are_no_set_are_the_providers_fault(clock: Clock) -> None:
    cache = KeyCache(lambda: {"keys": {"kid": "ed"}}, clock=clock)
    with pytest.raises(ProviderError, match="can't be fetched"):
        cache.find("ed")


def test_a_secret_is_read_from_the_file_that_the_config_names(tmp_path: Path) -> None:
    oidc = ["auth=oidc", "auth.issuer=https://id.example", "auth.introspection.client_id=mark"]
    with pytest.raises(ConfigError, match=r"auth\.introspection\.secret_file is not set"):
        make(compose("serve", oidc), "auth")
    file = tmp_path / "secret"
    read = secret_in(str(file), "auth.introspection.secret_file")
    with pytest.raises(ConfigError, match=r"secret_file=.*can't be read"):
        read()
    file.write_text("s3cret\n")
    assert read() == "s3cret"


def test_no_opaque_token_is_longer_than_a_header_should_be(idp: Provider) -> None:
    tokens = OpaqueTokens(AskedProvider(idp.url), "markgraph", ClaimNames(), CLIENT, lambda: SECRET)
    with pytest.raises(UnauthenticatedError, match="longer than"):
        tokens.caller("t" * 10_000)
    assert idp.fetched == 0


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


def test_tokens_that_nobody_knows_push_out_none_that_is_active(
    idp: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("markgraph.security.tokens.introspection.MAX_KEPT", 5)
    tokens = OpaqueTokens(AskedProvider(idp.url), "markgraph", ClaimNames(), CLIENT, lambda: SECRET)
    idp.opaque["t"] = idp.claims() | {"active": True}
    tokens.caller("t")
    for number in range(10):
        with pytest.raises(UnauthenticatedError):
            tokens.caller(f"bogus-{number}")
    asked = idp.fetched
    assert tokens.caller("t").subject == "anna"
    assert idp.fetched == asked


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
