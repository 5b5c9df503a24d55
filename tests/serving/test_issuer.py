"""MARK's own token issuer, asked over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.build import compose, make
from markgraph.errors import UnauthenticatedError
from markgraph.security.caller import Caller
from markgraph.security.doors import TokenDoor
from markgraph.security.issuer.server import Issuer
from markgraph.serving.app import create_app
from tests.security.provider import serving
from tests.serving.running import default_guard

ADA = Caller("ada", ["reader"], "acme", scopes=["graph:run", "documents:read"])
GRANT = {"grant_type": "client_credentials"}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> TokenDoor:
    folder = tmp_path_factory.mktemp("issuer")
    made: TokenDoor = make(compose("serve", ["auth=dev", "auth.attempts=null", f"data_dir={folder}"]), "auth")
    return made


@pytest.fixture(scope="module")
def issuer(door: TokenDoor) -> Issuer:
    assert door.issuer
    return door.issuer


@pytest.fixture(scope="module")
def secret(issuer: Issuer) -> str:
    return issuer.clients.add(ADA)


@pytest.fixture(scope="module")
def url(door: TokenDoor) -> Iterator[str]:
    with serving(create_app({}, door, default_guard())) as url:
        yield url


def ask(url: str, auth: tuple[str, str] | None = None, **form: str) -> httpx.Response:
    return httpx.post(f"{url}/oauth/token", data=form, auth=auth)


def test_a_client_gets_a_token_that_the_server_takes(url: str, secret: str, door: TokenDoor) -> None:
    for form in (
        ask(url, ("ada", secret), **GRANT),
        ask(url, client_id="ada", client_secret=secret, **GRANT),
    ):
        answer = form.json()
        assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 900)
        assert form.headers["cache-control"] == "no-store"
        assert door.admit(None, {"authorization": f"Bearer {answer['access_token']}"}) == ADA
    narrow = ask(url, ("ada", secret), scope="graph:run", **GRANT).json()
    assert narrow["scope"] == "graph:run"
    assert door.admit(None, {"authorization": f"Bearer {narrow['access_token']}"}).scopes == ("graph:run",)


def test_an_oauth_client_library_gets_one_too(url: str, secret: str, door: TokenDoor) -> None:
    from authlib.integrations.httpx_client import OAuth2Client

    with OAuth2Client("ada", secret, trust_env=False) as client:
        token = client.fetch_token(f"{url}/oauth/token", grant_type="client_credentials")
    assert door.admit(None, {"authorization": f"Bearer {token['access_token']}"}) == ADA


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"client_id": "ada", "client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "eve", "client_secret": "SECRET"}, "invalid_client"),
        ({"client_id": "ada"}, "invalid_client"),
        ({}, "invalid_client"),
        ({"client_id": "ada", "client_secret": "SECRET", "scope": "tokens:manage"}, "invalid_scope"),
        ({"client_id": "ada", "client_secret": "SECRET", "grant_type": "password"}, "unsupported_grant_type"),
        (
            {"client_id": "ada", "client_secret": "SECRET", "grant_type": "authorization_code"},
            "unsupported_grant_type",
        ),
    ],
)
def test_anything_else_gets_an_error_of_oauth(
    form: dict[str, str], error: str, url: str, secret: str
) -> None:
    filled = {name: value.replace("SECRET", secret) for name, value in form.items()}
    answer = ask(url, **(GRANT | filled))
    assert answer.status_code in (400, 401)
    assert answer.json()["error"] == error


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\xff\xfe=1", {}),
        (b"grant_type=client_credentials&grant_type=client_credentials", {}),
        (b"a=" + b"x" * 20_000, {}),
        (b"&".join(b"a%d=1" % n for n in range(50)), {}),
        (b"grant_type=client_credentials", {"authorization": "Basic //79/Q=="}),
        (b"grant_type=client_credentials", {"authorization": "Basic"}),
        (b"{}", {"content-type": "application/json"}),
        (b"", {}),
    ],
)
@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/revoke"])
def test_a_strange_body_is_an_error_of_the_client(
    path: str, body: bytes, headers: dict[str, str], url: str
) -> None:
    answer = httpx.post(url + path, content=body, headers=headers)
    assert answer.status_code in (400, 401), answer.text
    assert "error" in answer.json()


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["grant_type", "client_id", "client_secret", "scope", "token"]), st.text()
    )
)
def test_no_form_is_a_fault(url: str, form: dict[str, str]) -> None:
    for path in ("/oauth/token", "/oauth/revoke"):
        assert httpx.post(url + path, data=form).status_code in (400, 401)


def test_the_metadata_and_the_keys_are_public_and_right(url: str, secret: str) -> None:
    metadata = httpx.get(f"{url}/.well-known/oauth-authorization-server").json()
    AuthorizationServerMetadata(metadata).validate()
    assert metadata["jwks_uri"] == "http://127.0.0.1:8000/oauth/jwks.json"
    keys = httpx.get(f"{url}/oauth/jwks.json").json()["keys"]
    assert [(key["kty"], key["crv"], key["use"]) for key in keys] == [("OKP", "Ed25519", "sig")]
    assert "d" not in keys[0]


def test_a_client_revokes_its_tokens_and_no_others(
    url: str, secret: str, issuer: Issuer, door: TokenDoor
) -> None:
    other = issuer.clients.add(Caller("eve", ["reader"], "acme"))
    token = issuer.issue("ada")

    def revoke(name: str, password: str, token: str) -> Any:
        return httpx.post(f"{url}/oauth/revoke", data={"token": token}, auth=(name, password))

    assert revoke("eve", other, token).json() == {"error": "invalid_grant"}
    assert door.admit(None, {"authorization": f"Bearer {token}"}) == ADA
    assert revoke("ada", "wrong", token).status_code == 401
    assert revoke("ada", secret, "no token").status_code == 200  # RFC 7009, 2.2
    assert revoke("ada", secret, token).status_code == 200
    with pytest.raises(UnauthenticatedError, match="revoked"):
        door.admit(None, {"authorization": f"Bearer {token}"})
