"""Times what a token costs: to check one of each kind, beside Authlib's own validator, and to issue one.

    python benchmarks/tokens.py [ROUNDS]

Prints microseconds per call: the median of the rounds, each of which times every row in turn.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from markgraph.security.caller import Caller
from markgraph.security.issuer.server import FormRequest, Issuer
from markgraph.security.tokens.api_keys import ApiKeys
from markgraph.security.tokens.claims import ClaimNames
from markgraph.security.tokens.jwks import KeyCache
from markgraph.security.tokens.jwt import AccessTokens
from markgraph.security.tokens.store import AuthStore

CALLS = 200
ISSUER = "https://id.example"
ANNA = Caller("anna", ["reader"], "acme", ["legal"])


def main() -> None:
    """Time every row in turn, and print the medians."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        rows = checks() | own(Path(folder))
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(rounds):
            for name, call in rows.items():
                begun = time.perf_counter()
                for _ in range(CALLS):
                    call()
                times[name].append((time.perf_counter() - begun) / CALLS * 1e6)
    for name, found in times.items():
        print(f"{name:34} {statistics.median(found):8.0f} µs  {1e6 / statistics.median(found):8.0f}/s")


def checks() -> dict[str, Callable[[], Any]]:
    """Return the checks of signed tokens: MARK's, and Authlib's with the same keys."""
    keys: dict[str, RSAKey | ECKey | OKPKey] = {
        "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
        "ES256": ECKey.generate_key("P-256", {"kid": "ec"}),
        "Ed25519": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
    }
    jwks: Any = KeySet(list(keys.values())).as_dict(private=False)
    tokens = AccessTokens(ISSUER, "markgraph", KeyCache(lambda: jwks), ClaimNames())

    class Stock(JWTBearerTokenValidator):  # type: ignore[misc]  # Authlib has no types
        def get_jwks(self) -> Any:
            return imported  # from a dict it would import the keys for every token

    imported = KeySet.import_key_set(jwks)
    stock = Stock(ISSUER, "markgraph")

    def by_stock(token: str) -> Any:
        return stock.validate_token(stock.authenticate_token(token), None, None)

    rows: dict[str, Callable[[], Any]] = {}
    for alg, key in keys.items():
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": "markgraph",
            "sub": "anna",
            "tenant": "acme",
            "client_id": "app",
        }
        claims |= {"iat": now, "exp": now + 3600, "jti": "x", "roles": ["reader"]}
        token = jwt.encode({"alg": alg, "typ": "at+jwt", "kid": key.kid}, claims, key, algorithms=[alg])
        rows[f"check {alg}"] = partial(tokens.caller, token)
        if alg != "Ed25519":  # not among the algorithms that it takes by itself
            rows[f"check {alg}, Authlib's validator"] = partial(by_stock, token)
    return rows


def own(folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what MARK's own issuer and API keys do."""
    store = AuthStore(str(folder / "auth.sqlite"))
    issuer, keys = Issuer("http://127.0.0.1:8000", "markgraph", store, 900), ApiKeys(store)
    secret, key = issuer.clients.add(ANNA), keys.make(ANNA, 1)
    token = issuer.issue("anna")
    form = {"grant_type": "client_credentials", "client_id": "anna", "client_secret": secret}
    return {
        "check a token of the own issuer": lambda: issuer.tokens.caller(token),
        "check an API key": lambda: keys.caller(key),
        "grant a token to a client": lambda: issuer.create_token_response(FormRequest(issuer.url, form, {})),
    }


if __name__ == "__main__":
    main()
