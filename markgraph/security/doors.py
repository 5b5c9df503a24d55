"""How a request becomes a caller."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from markgraph.errors import DeniedError, UnauthenticatedError, UsageError
from markgraph.security.caller import Caller

if TYPE_CHECKING:
    from markgraph.security.issuer.server import Issuer
    from markgraph.security.tokens.login import Login

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""Host names under which a machine reaches itself."""
TOKEN = "MARKGRAPH_TOKEN"  # noqa: S105 -- the name of an environment variable
"""Where the command line finds its token."""

_TOKEN_SYNTAX = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")
"""RFC 6750, 2.1, and a length that no header should have."""


class Door(Protocol):
    """Decides who sends a request, and where a server with it may listen."""

    @property
    def hosts(self) -> Sequence[str]:
        """Return the host names that the server answers to."""

    @property
    def caller(self) -> Caller:
        """Return who works at this machine's command line.

        Raises:
            DeniedError: nobody is known to.
        """

    @property
    def attempts(self) -> int | None:
        """Return how often a minute somebody unknown may try, from one address; None: any number."""

    @property
    def issuer(self) -> "Issuer | None":
        """Return the token issuer that is served along."""

    @property
    def login(self) -> "Login | None":
        """Return how browsers log in; None: they can't."""

    def check_host(self, host: str) -> None:
        """Refuse to listen where it could not tell callers apart.

        Raises:
            UsageError: `host` is no address for this door.
        """

    def admit(self, client: str | None, headers: Mapping[str, str]) -> Caller:
        """Return who sends a request, from its connection and headers; it may wait for a network.

        Args:
            client: the address that the connection comes from.
            headers: the request's headers, names in lower case.

        Raises:
            DeniedError: the request proves nobody.
        """


@dataclass(frozen=True)
class LocalDoor:
    """Takes everybody at this machine for one person. Nobody from elsewhere gets in."""

    caller: Caller
    hosts: Sequence[str] = LOCAL_NAMES
    attempts: None = None
    issuer: None = None
    login: None = None

    def check_host(self, host: str) -> None:
        """Refuse to listen where others could connect.

        Raises:
            UsageError: `host` is not a loopback address.
        """
        if not is_loopback(host):
            raise UsageError(
                f"auth=none knows no users, so it serves this machine only. Got host={host}; "
                "allowed: 127.0.0.1, ::1, localhost. With auth=dev or auth=oidc it may be another."
            )

    def admit(self, client: str | None, headers: Mapping[str, str]) -> Caller:
        """Return the local person.

        Args:
            client: the address that the connection comes from.
            headers: the request's headers, names in lower case.

        Raises:
            DeniedError: the request comes from another machine, or from a page of another site.
        """
        if client is None or not is_loopback(client):
            raise DeniedError(f"auth=none answers this machine only; the request came from {client}.")
        host = headers.get("host", "localhost")
        if not is_loopback(_host_in(f"//{host}")):
            raise DeniedError(f"auth=none answers to this machine's own names only; got Host: {host}.")
        origin = headers.get("origin")
        if origin is not None and not is_loopback(_host_in(origin)):
            raise DeniedError(f"auth=none answers pages of this machine only; this one is from {origin}.")
        return self.caller


class Verifier(Protocol):
    """Decides on one kind of token."""

    def takes(self, token: str) -> bool:
        """Tell whether `token` is of this kind, as far as its form says."""

    def caller(self, token: str) -> Caller:
        """Return who holds `token`.

        Raises:
            UnauthenticatedError: nobody that could be trusted.
        """


@dataclass(frozen=True)
class TokenDoor:
    """Lets in who sends a token that one of its verifiers trusts, or the cookie of a session."""

    verifiers: Sequence[Verifier]
    hosts: Sequence[str]
    attempts: int | None = None
    issuer: "Issuer | None" = None
    login: "Login | None" = None

    @property
    def caller(self) -> Caller:
        """Return who holds the token in the environment.

        Raises:
            UnauthenticatedError: there is none, or it is not to be trusted.
        """
        token = os.environ.get(TOKEN)
        if not token:
            raise UnauthenticatedError(
                f"With auth=dev or auth=oidc the command line needs a token, in {TOKEN}: for example "
                f"{TOKEN}=$(markgraph token NAME) markgraph ask ..."
            )
        return self._holder(token.strip())

    def check_host(self, host: str) -> None:
        """Refuse to listen for others without a name that they know this server by.

        Raises:
            UsageError: `auth.hosts` names this machine only, and `host` is another address.
        """
        if not is_loopback(host) and all(map(is_loopback, self.hosts)):
            raise UsageError(
                f"host={host} lets other machines connect, and auth.hosts has no name that they could use. "
                "Say by which names they reach this server: auth.hosts=[mark.example]."
            )

    def admit(self, client: str | None, headers: Mapping[str, str]) -> Caller:  # noqa: ARG002
        """Return whose token or session a request has.

        Args:
            client: the address that the connection comes from, which proves nothing here.
            headers: the request's headers, names in lower case.

        Raises:
            UnauthenticatedError: it has neither, or one that is not to be trusted.
            ProviderError: its token can't be checked now.
        """
        if authorization := headers.get("authorization"):
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise UnauthenticatedError("Send `Authorization: Bearer TOKEN`; other schemes do not count.")
            return self._holder(token)
        if self.login and (cookie := cookies_in(headers).get(self.login.cookie)):
            if not _from_own_page(headers, self.login.origin):
                raise UnauthenticatedError("A session counts on this server's own pages only.")
            return self.login.sessions.caller(cookie)
        where = " Or log in: /login." if self.login else ""
        raise UnauthenticatedError(
            f"Nobody is known to be asking. Send `Authorization: Bearer TOKEN`.{where}"
        )

    def _holder(self, token: str) -> Caller:
        if not _TOKEN_SYNTAX.fullmatch(token):
            raise UnauthenticatedError("What follows `Bearer ` is no token.")
        for verifier in self.verifiers:
            if verifier.takes(token):
                return verifier.caller(token)
        raise UnauthenticatedError("The token is of a kind that is not taken here.")


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers of an ASGI request, names in lower case.

    Raises:
        UnauthenticatedError: there are two tokens, and whoever looks at the other would admit another.
    """
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]
    if sum(name == "authorization" for name, _ in pairs) > 1:
        raise UnauthenticatedError("Send one Authorization header, not several.")
    return dict(pairs)


def cookies_in(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the cookies of a request, by their names."""
    parts = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in parts}


def _from_own_page(headers: Mapping[str, str], origin: str) -> bool:
    """Tell whether a browser says that a request is its user's, or a page's of this origin.

    It sends `Origin` with whatever changes something. What has none only reads: there, following a link
    from elsewhere is fine, and what another site's page fetches is not.
    """
    if "origin" in headers:
        return headers["origin"] == origin
    return headers.get("sec-fetch-site") in ("same-origin", "none") or (
        headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )


def _host_in(url: str) -> str:
    """Return the host of a URL that a client sent; an empty string where it is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine as seen from itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
