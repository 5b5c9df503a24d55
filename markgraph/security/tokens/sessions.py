"""Sessions of browsers: an unguessable cookie stands for somebody who has logged in."""

import json
import secrets
import time
from collections.abc import Callable

from markgraph.errors import UnauthenticatedError
from markgraph.security.caller import Caller
from markgraph.security.tokens.api_keys import hash_of
from markgraph.security.tokens.claims import ClaimNames, caller_of_claims, claims_of
from markgraph.security.tokens.store import AuthStore


class Sessions:
    """Keeps who is logged in; a cookie is known by its hash only."""

    def __init__(self, store: AuthStore, seconds: float, clock: Callable[[], float] = time.time) -> None:
        """Keep sessions in `store`, each for so many seconds."""
        self._store, self.seconds, self._clock = store, seconds, clock

    def begin(self, caller: Caller) -> str:
        """Return the cookie of a new session of `caller`."""
        cookie, now = secrets.token_urlsafe(32), self._clock()
        with self._store.transaction() as connection:
            connection.execute("delete from sessions where until < ?", (now,))
            row = (hash_of(cookie), json.dumps(claims_of(caller)), now + self.seconds)
            connection.execute("insert into sessions values (?, ?, ?)", row)
        return cookie

    def caller(self, cookie: str) -> Caller:
        """Return whose session `cookie` is.

        Raises:
            UnauthenticatedError: nobody's, or nobody's any more.
        """
        sql = "select claims from sessions where id = ? and until > ?"
        found = self._store.rows(sql, hash_of(cookie), self._clock())
        if not found:
            raise UnauthenticatedError("The session is over. Log in again.")
        return caller_of_claims(json.loads(found[0][0]), ClaimNames())

    def end(self, cookie: str) -> None:
        """Forget a session."""
        self._store.change("delete from sessions where id = ?", hash_of(cookie))
