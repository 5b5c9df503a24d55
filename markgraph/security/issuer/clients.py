"""The clients that may ask for tokens, and what their tokens say."""

import hmac
import json
import re
import secrets
from dataclasses import dataclass, field

from authlib.oauth2.rfc6749 import ClientMixin

from markgraph.errors import UsageError
from markgraph.security.caller import Caller
from markgraph.security.tokens.api_keys import hash_of
from markgraph.security.tokens.claims import ClaimNames, caller_of_claims, claims_of
from markgraph.security.tokens.store import AuthStore

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")


@dataclass(frozen=True)
class Client(ClientMixin):  # type: ignore[misc]  # Authlib has no types
    """A person or a service that authenticates with a secret; it is the subject of its tokens."""

    caller: Caller
    _secret: bytes = field(repr=False)

    def get_client_id(self) -> str:
        """Return its name."""
        return self.caller.subject

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """Return the scope that a token gets which was asked with `scope`; None: it may not have that."""
        held = self.caller.scopes
        if not scope:
            return " ".join(held or ())
        return scope if held is None or set(scope.split()) <= set(held) else None

    def check_client_secret(self, client_secret: str) -> bool:
        """Tell whether this is its secret."""
        return hmac.compare_digest(self._secret, hash_of(client_secret))

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002
        """Tell whether it may authenticate in this way: never without its secret."""
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant_type: str) -> bool:
        """Tell whether it may ask for tokens in this way."""
        return grant_type == "client_credentials"


def _client(claims: str, secret: bytes) -> Client:
    return Client(caller_of_claims(json.loads(claims), ClaimNames()), secret)


_NO_CLIENT = (json.dumps(claims_of(Caller("nobody"))), bytes(32))
"""A row like those of the store; nothing is known whose hash is 0."""


class Clients:
    """Keeps clients in the tokens' file."""

    def __init__(self, store: AuthStore) -> None:
        """Keep clients in `store`."""
        self._store = store

    def find(self, name: str) -> Client | None:
        """Return the client `name`, if there is one."""
        found = self._store.rows("select claims, secret from clients where id = ?", name)
        return _client(*found[0]) if found else None

    def claimed(self, name: str) -> Client:
        """Return the client `name`, or one that nobody's secret fits, at the same cost.

        So who lacks a secret doesn't learn which clients there are.
        """
        found = self._store.rows("select claims, secret from clients where id = ?", name)
        return _client(*(found[0] if found else _NO_CLIENT))

    def add(self, caller: Caller) -> str:
        """Add a client that stands for `caller`, and return its secret; it can't be shown again.

        Raises:
            UsageError: there is one of that name already, or the name does not do.
        """
        if not _NAME.fullmatch(caller.subject):
            raise UsageError(
                f"{caller.subject!r} is no name for a client. Allowed: up to 100 letters, digits, and . _ @ -"
            )
        secret = secrets.token_urlsafe(32)
        sql = "insert or ignore into clients (id, secret, claims) values (?, ?, ?)"
        if not self._store.change(sql, caller.subject, hash_of(secret), json.dumps(claims_of(caller))):
            raise UsageError(
                f"There is a client {caller.subject!r} already. Remove it first: "
                f"markgraph token remove {caller.subject}"
            )
        return secret

    def remove(self, name: str) -> None:
        """Remove a client; its tokens are worth nothing from then on.

        Raises:
            UsageError: there is none of that name.
        """
        if not self._store.change("delete from clients where id = ?", name):
            raise UsageError(f"There is no client {name!r}. `markgraph token list` names them.")

    def listed(self) -> list[Caller]:
        """Return whom the clients stand for."""
        rows = self._store.rows("select claims from clients order by id")
        return [caller_of_claims(json.loads(claims), ClaimNames()) for (claims,) in rows]
