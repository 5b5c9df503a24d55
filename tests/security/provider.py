"""A small identity provider on loopback: OpenID Connect with PKCE, and introspection."""

import hashlib
import secrets
import threading
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

PEOPLE = {
    "anna": {"tenant": "acme", "roles": ["reader"], "groups": ["legal"], "clearance": "internal"},
    "boris": {"tenant": "other", "roles": ["reader", "writer"]},
}
CLIENT, SECRET = "mark-web", "s3cret of the client"
FORM = '<form method="post"><input name="user" aria-label="user"><button>Let me in</button></form>'


class Provider:
    """Keeps keys, codes and opaque tokens; counts how often its keys are fetched."""

    def __init__(self) -> None:
        self.url = ""
        self.keys = {
            "RS256": RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}),
            "ES256": ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"}),
            "Ed25519": OKPKey.generate_key("Ed25519", {"kid": "ed", "use": "sig"}),
        }
        self.fetched = 0
        self.down = False
        self.extra: dict[str, Any] = {}
        """Changes of the metadata."""
        self.id_claims: dict[str, Any] = {}
        """Changes of the ID tokens."""
        self.codes: dict[str, dict[str, str]] = {}
        self.opaque: dict[str, dict[str, Any]] = {}
        self.strange = b""
        """What it answers at /strange."""

    def claims(self, subject: str = "anna", **changes: Any) -> dict[str, Any]:
        """Return the claims of a good access token, with `changes`; None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": "markgraph", "sub": subject, "client_id": "app", "iat": now,
            "exp": now + 300, "jti": secrets.token_hex(8), **PEOPLE[subject], **changes,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        subject: str = "anna",
        alg: str = "Ed25519",
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Return a signed access token."""
        key = self.keys[alg]
        whole = {"alg": alg, "typ": "at+jwt", "kid": key.kid} | (header or {})
        whole = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(whole, self.claims(subject, **changes), key, algorithms=[alg])

    def app(self) -> Starlette:
        """Return its endpoints."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._metadata),
                Route("/jwks", self._jwks),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/token", self._token, methods=["POST"]),
                Route("/introspect", self._introspect, methods=["POST"]),
                Route("/strange", lambda _: Response(self.strange)),
                Route("/elsewhere", lambda _: RedirectResponse("http://localhost:1/jwks")),
            ]
        )

    def _metadata(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "introspection_endpoint": f"{self.url}/introspect",
            }
            | self.extra,
            status_code=500 if self.down else 200,
        )

    def _jwks(self, _: Request) -> Response:
        self.fetched += 1
        keys = KeySet(list(self.keys.values())).as_dict(private=False)
        return JSONResponse(keys, status_code=500 if self.down else 200)

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        if request.method == "GET":
            return HTMLResponse(FORM)
        user = (await request.body()).decode().partition("user=")[2]
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked | {"user": user}
        back = urlencode({"code": code, "state": asked["state"], "iss": self.url})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", status_code=303)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        asked = self.codes.pop(form["code"], None)
        challenge = urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if asked is None or challenge.decode() != asked["code_challenge"] or not _is_client(request):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        claims = self.claims(asked["user"], aud=CLIENT, nonce=asked["nonce"], client_id=None, jti=None)
        header = {"alg": "RS256", "kid": "rsa"}
        id_token = jwt.encode(header, claims | self.id_claims, self.keys["RS256"], algorithms=["RS256"])
        return JSONResponse({"access_token": "opaque", "token_type": "Bearer", "id_token": id_token})

    async def _introspect(self, request: Request) -> Response:
        self.fetched += 1
        if not _is_client(request):
            return JSONResponse({}, status_code=401)
        token = dict(parse_qsl((await request.body()).decode()))["token"]
        return JSONResponse(self.opaque.get(token, {"active": False}))


def _is_client(request: Request) -> bool:
    expected = b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    return request.headers.get("authorization") == f"Basic {expected}"


@contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """Serve `app` on loopback in a thread, and yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def provider() -> Iterator[Provider]:
    """Yield a provider that is up."""
    made = Provider()
    with serving(made.app()) as made.url:
        yield made
