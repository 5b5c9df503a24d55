"""Tables of good and bad tokens, each of which the door must judge right, and never fail on."""

import base64
import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from markgraph.build import compose, make
from markgraph.errors import UnauthenticatedError
from markgraph.security.caller import Caller
from markgraph.security.doors import TokenDoor
from tests.security.provider import CLIENT, SECRET, Provider, provider

ANNA = Caller("anna", ["reader"], "acme", ["legal"], 1)


@pytest.fixture(scope="module")
def idp() -> Iterator[Provider]:
    with provider() as made:
        yield made


@pytest.fixture(scope="module")
def door(idp: Provider, tmp_path_factory: pytest.TempPathFactory) -> TokenDoor:
    """Return the door that conf/auth/oidc.yaml describes for this provider."""
    folder = tmp_path_factory.mktemp("auth")
    (folder / "secret").write_text(SECRET)
    return oidc(idp, folder, f"auth.introspection.secret_file={folder / 'secret'}")


def oidc(idp: Provider, folder: Path, *overrides: str) -> TokenDoor:
    settings = [f"auth.issuer={idp.url}", f"data_dir={folder}", f"auth.introspection.client_id={CLIENT}"]
    made: TokenDoor = make(compose("serve", ["auth=oidc", *settings, *overrides]), "auth")
    return made


def admit(door: TokenDoor, token: str) -> Caller:
    return door.admit("10.0.0.9", {"authorization": f"Bearer {token}"})


def signed_by(key: Any, alg: str, claims: dict[str, Any], **header: Any) -> str:
    whole = {"alg": alg, "typ": "at+jwt", "kid": "ed", **header}
    return jwt.encode(whole, claims, key, algorithms=[alg])


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: str = "") -> str:
    parts = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)
    )
    return ".".join((*parts, signature))


GOOD: dict[str, Callable[[Provider], str]] = {
    "Ed25519": lambda idp: idp.token(),
    "RS256": lambda idp: idp.token(alg="RS256"),
    "ES256": lambda idp: idp.token(alg="ES256"),
    "the long form of typ": lambda idp: idp.token(header={"typ": "application/at+jwt"}),
    "several audiences": lambda idp: idp.token(aud=["else", "markgraph"]),
    "a clock that is ten seconds ahead": lambda idp: idp.token(iat=idp.claims()["iat"] + 10),
    "roles as words": lambda idp: idp.token(roles="reader"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_token_says_who_is_asking(kind: str, idp: Provider, door: TokenDoor) -> None:
    assert admit(door, GOOD[kind](idp)) == ANNA


def hs256_with_the_public_key(idp: Provider) -> str:
    """Return a token of the confusion of algorithms: the public key, known to all, as a shared secret."""
    public = idp.keys["RS256"].as_pem(private=False)
    header = {"alg": "HS256", "typ": "at+jwt", "kid": "rsa"}
    return jws.serialize_compact(
        header,
        json.dumps(idp.claims()),
        OctKey.import_key(base64.urlsafe_b64encode(public).decode()),
        ["HS256"],
    )


def with_its_own_key(idp: Provider) -> str:
    mine = OKPKey.generate_key("Ed25519")
    return signed_by(mine, "Ed25519", idp.claims(), jwk=mine.as_dict(private=False))


def cut(token: str) -> str:
    return token[: len(token) // 2]


def other_payload(idp: Provider) -> str:
    header, _, signature = idp.token().split(".")
    return unsigned({}, idp.claims("boris")).split(".")[1].join((f"{header}.", f".{signature}"))


NOW = 10**9
BAD: dict[str, Callable[[Provider], str]] = {
    "nothing": lambda idp: "",
    "text": lambda idp: "let me in",
    "dots": lambda idp: "..",
    "alg none": lambda idp: unsigned({"alg": "none", "typ": "at+jwt", "kid": "ed"}, idp.claims()),
    "alg NONE with a signature": lambda idp: unsigned({"alg": "NONE", "kid": "ed"}, idp.claims(), "AAAA"),
    "no signature": lambda idp: idp.token().rpartition(".")[0] + ".",
    "half of it": lambda idp: cut(idp.token()),
    "somebody else's payload": other_payload,
    "the public key as a secret": hs256_with_the_public_key,
    "a key of its own in the header": with_its_own_key,
    "another key under a known id": lambda idp: signed_by(
        OKPKey.generate_key("Ed25519"), "Ed25519", idp.claims()
    ),
    "another RSA key": lambda idp: signed_by(RSAKey.generate_key(2048), "RS256", idp.claims(), kid="rsa"),
    "another EC key": lambda idp: signed_by(ECKey.generate_key("P-256"), "ES256", idp.claims(), kid="ec"),
    "an algorithm that is not its key's": lambda idp: idp.token(header={"kid": "rsa"}),
    "an algorithm that is not pinned": lambda idp: signed_by(
        idp.keys["RS256"], "PS256", idp.claims(), kid="rsa"
    ),
    "an unknown key": lambda idp: idp.token(header={"kid": "other"}),
    "no key id": lambda idp: idp.token(header={"kid": None}),
    "a key id that is a path": lambda idp: idp.token(header={"kid": "../../dev/null"}),
    "a key's address": lambda idp: signed_by(
        OKPKey.generate_key("Ed25519"), "Ed25519", idp.claims(), jku=f"{idp.url}/jwks"
    ),
    "crit": lambda idp: unsigned({"alg": "Ed25519", "kid": "ed", "crit": ["x"]}, idp.claims(), "AAAA"),
    "no typ": lambda idp: idp.token(header={"typ": None}),
    "an ID token": lambda idp: idp.token(header={"typ": "JWT"}),
    "expired": lambda idp: idp.token(exp=NOW),
    "expires never": lambda idp: idp.token(exp=None),
    "expires at no time": lambda idp: idp.token(exp="tomorrow"),
    "not yet valid": lambda idp: idp.token(nbf=10**11),
    "issued in the future": lambda idp: idp.token(iat=10**11),
    "another issuer": lambda idp: idp.token(iss="https://evil.example"),
    "the issuer with a slash": lambda idp: idp.token(iss=f"{idp.url}/"),
    "no issuer": lambda idp: idp.token(iss=None),
    "another audience": lambda idp: idp.token(aud="other"),
    "no audience": lambda idp: idp.token(aud=None),
    "an audience that begins alike": lambda idp: idp.token(aud="markgraph2"),
    "no subject": lambda idp: idp.token(sub=None),
    "an empty subject": lambda idp: idp.token(sub=""),
    "a subject that is a number": lambda idp: idp.token(sub=7),
    "no tenant": lambda idp: idp.token(tenant=None),
    "an empty tenant": lambda idp: idp.token(tenant=" "),
    "two tenants": lambda idp: idp.token(tenant=["acme", "other"]),
    "roles in a tree": lambda idp: idp.token(roles={"admin": True}),
    "a clearance that nobody knows": lambda idp: idp.token(clearance="cosmic"),
    "bound to a key of its holder": lambda idp: idp.token(cnf={"jkt": "x"}),
    "no token id": lambda idp: idp.token(jti=None),
    "no client": lambda idp: idp.token(client_id=None),
    "a long one": lambda idp: idp.token(roles=["x" * 200] * 60),
    "an unknown API key": lambda idp: f"mk_{'a' * 8}_{'b' * 43}",
    "an unknown opaque token": lambda idp: "opaque",
    "brackets without end": lambda idp: f"{base64.urlsafe_b64encode(b'[' * 6000).decode()}.e30.e30",
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_token_is_refused(kind: str, idp: Provider, door: TokenDoor) -> None:
    with pytest.raises(UnauthenticatedError):
        admit(door, BAD[kind](idp))


@pytest.mark.parametrize("alg", ["Ed25519", "ES256", "RS256", "opaque", "api key"])
def test_no_change_of_one_byte_makes_another_good_token(alg: str, idp: Provider, door: TokenDoor) -> None:
    token = minted(idp, door, alg)
    assert admit(door, token).subject == "anna"
    for at, bit in product(range(len(token)), range(7)):
        changed = token[:at] + chr(ord(token[at]) ^ 1 << bit) + token[at + 1 :]
        with pytest.raises(UnauthenticatedError):
            admit(door, changed)


@pytest.mark.parametrize("alg", ["Ed25519", "ES256", "RS256", "opaque", "api key"])
def test_neither_a_longer_nor_a_shorter_token_is_good(alg: str, idp: Provider, door: TokenDoor) -> None:
    token = minted(idp, door, alg)
    for changed in (
        token + "A",
        token + "=",
        token + "\n",
        " " + token,
        token[:-1],
        token[1:],
        token + token,
    ):
        with pytest.raises(UnauthenticatedError):
            admit(door, changed)


def minted(idp: Provider, door: TokenDoor, kind: str) -> str:
    """Return a good token of each kind."""
    if kind == "opaque":
        idp.opaque["a-token-that-says-nothing"] = idp.claims() | {"active": True}
        return "a-token-that-says-nothing"
    if kind == "api key":
        made: str = door.verifiers[0].make(ANNA, 1)  # type: ignore[attr-defined]
        return made
    return idp.token(alg=kind)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
HEADERS = st.sampled_from("alg typ kid crit jwk jku x5c x5u b64 zip enc cty".split())
NAMES = st.sampled_from(
    "iss aud sub exp nbf iat jti client_id tenant roles groups clearance scope cnf auth_time amr acr".split()
)


@given(
    header=st.dictionaries(HEADERS, JSON), claims=st.dictionaries(NAMES, JSON), signature=st.text("AZ09-_")
)
def test_no_header_is_a_fault(
    header: dict[str, Any], claims: dict[str, Any], signature: str, idp: Provider, door: TokenDoor
) -> None:
    for known in ({}, {"kid": "ed"}, {"kid": "rsa", "alg": "RS256"}, {"kid": "ed", "alg": "Ed25519"}):
        with pytest.raises(UnauthenticatedError):
            admit(door, unsigned(header | known, idp.claims() | claims, signature))


@given(changes=st.dictionaries(NAMES, JSON, min_size=1, max_size=4))
def test_no_claim_is_a_fault_and_none_but_its_own_makes_a_caller(
    changes: dict[str, Any], idp: Provider, door: TokenDoor
) -> None:
    whole = idp.claims() | changes
    try:
        caller = admit(door, signed_by(idp.keys["Ed25519"], "Ed25519", whole))
    except UnauthenticatedError:
        return
    assert (whole["iss"], caller.subject, caller.tenant) == (idp.url, whole["sub"], whole["tenant"])
    assert whole["aud"] == "markgraph" or "markgraph" in whole["aud"]
    assert set(caller.roles) <= set(whole["roles"] or [])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Basic YTpi"},
        {"cookie": "mark=x"},
        {"x-api-key": "mk_aaaaaaaa_x"},
    ],
)
def test_what_is_no_bearer_token_proves_nobody(headers: dict[str, str], door: TokenDoor) -> None:
    with pytest.raises(UnauthenticatedError):
        door.admit("127.0.0.1", headers)


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"active": False}, "active"),
        ({"active": "true"}, "active"),
        ({"aud": None}, "for here"),
        ({"aud": "other"}, "for here"),
        ({"exp": NOW}, "for here"),
        ({"exp": None}, "for here"),
        ({"iss": "https://evil.example"}, "for here"),
        ({"tenant": None}, "tenant"),
    ],
)
def test_an_opaque_token_is_what_its_provider_says(
    about: dict[str, Any], why: str, idp: Provider, door: TokenDoor
) -> None:
    token = f"opaque-{uuid4()}"
    idp.opaque[token] = idp.claims() | {"active": True} | about
    with pytest.raises(UnauthenticatedError, match=why):
        admit(door, token)


def test_a_provider_may_tell_what_a_caller_is_under_other_names(idp: Provider, tmp_path: Path) -> None:
    door = oidc(
        idp,
        tmp_path,
        "auth.introspection.client_id=null",
        "auth.claims.roles=realm_access.roles",
        "auth.claims.tenant=https://example.com/org",
        "auth.claims.scope=null",
    )
    token = idp.token(
        **{"realm_access": {"roles": ["writer"]}, "https://example.com/org": "acme"}, scope="openid profile"
    )
    assert admit(door, token) == Caller("anna", ["writer"], "acme", ["legal"], 1)


def test_what_a_token_does_not_say_is_the_least(door: TokenDoor, idp: Provider) -> None:
    bare = admit(door, idp.token(roles=None, groups=None, clearance=None))
    assert bare == Caller("anna", [], "acme", [], 0)
    assert admit(door, idp.token(scope="graph:run documents:read")).scopes == ("graph:run", "documents:read")
    assert admit(door, idp.token(scope="")).scopes == ()
