"""Fetches pages of hosts that are on a list, from public addresses, in bounded size and time.

A redirect is a new request, checked like the first. Proxies, cookies and passwords of the environment are
not used: this is HTTP as `httpcore` speaks it, without a client around it.

Does NOT include: sending anything but GET, and a bound on how long the system's resolver takes.
"""

import ssl
import time
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import httpcore

from markgraph.errors import SandboxError
from markgraph.sandbox.network import PublicNetwork, Resolve, look_up

_LONGEST = 2048
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ALLOWED = frozenset(f"{_LETTERS}{_LETTERS.upper()}0123456789-._~:/?#[]@!$&'()*+,;=%")
"""What RFC 3986 lets a URL hold: no spaces, no backslashes, nothing beyond ASCII."""
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)


class Fetched(NamedTuple):
    """A page."""

    url: str
    """Where it came from, after redirects."""
    status: int
    content_type: str
    body: bytes


class Place(NamedTuple):
    """A checked URL in parts, from which the request is put together."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""


@dataclass(frozen=True)
class HttpGuard:
    """Gets pages of `hosts`."""

    hosts: frozenset[str]
    """Names as they stand in a URL, in lower case; a subdomain is another host."""
    ports: frozenset[int] = frozenset({443})
    schemes: frozenset[str] = frozenset({"https"})
    content_types: tuple[str, ...] = ("text/", "application/json", "application/xml", "application/pdf")
    """What a page's type begins with."""
    max_bytes: int = 2 << 20
    seconds: float = 5
    """For all of it, redirects included."""
    max_redirects: int = 3
    resolve: Resolve = look_up
    network: httpcore.NetworkBackend = field(default_factory=httpcore.SyncBackend)
    """What opens a connection to an address."""

    def get(self, url: str) -> Fetched:
        """Return the page at `url`.

        Raises:
            SandboxError: the URL is not allowed, leads to a private address, or the page is too large, too
                slow or of another type; or the host did not answer.
        """
        network = PublicNetwork(time.monotonic() + self.seconds, self.resolve, self.network)
        try:
            with httpcore.ConnectionPool(ssl_context=_trusted(), network_backend=network) as pool:
                for _ in range(self.max_redirects + 1):
                    page = self._fetch(pool, url)
                    if isinstance(page, Fetched):
                        return page
                    url = page
        except httpcore.TimeoutException as error:
            raise SandboxError(f"{url[:200]!r} took longer than the {self.seconds:g} s allowed.") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError) as error:
            raise SandboxError(f"{url[:200]!r} could not be fetched: {type(error).__name__}.") from error
        raise SandboxError(f"{url[:200]!r} comes after more than {self.max_redirects} redirects.")

    def check(self, url: str) -> Place:
        """Return the parts of `url`.

        Raises:
            SandboxError: its scheme, host or port is not allowed, or it is written in a way that two
                programs may read differently.
        """
        try:
            parts = urlsplit(url)
            port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
        except ValueError as error:
            raise SandboxError(f"{url[:200]!r} is no URL: {error}.") from error
        if len(url) > _LONGEST or not _ALLOWED.issuperset(url) or "@" in parts.netloc:
            raise SandboxError(
                f"{url[:200]!r} is no plain URL. Allowed: ASCII as in RFC 3986, no user before the host, at "
                f"most {_LONGEST} characters."
            )
        host = parts.netloc.lower().removesuffix(f":{port}")
        if parts.scheme not in self.schemes or host not in self.hosts or port not in self.ports:
            raise SandboxError(
                f"{url[:200]!r} is not allowed. Allowed: {', '.join(sorted(self.schemes))} to "
                f"{', '.join(sorted(self.hosts)) or 'no host'}, ports {sorted(self.ports)}."
            )
        return Place(parts.scheme, host, port, parts._replace(scheme="", netloc="", fragment="").geturl())

    def _fetch(self, pool: httpcore.ConnectionPool, url: str) -> Fetched | str:
        """Return the page at `url`, or where it redirects to."""
        place = self.check(url)
        asked = httpcore.URL(
            scheme=place.scheme, host=place.host, port=place.port, target=place.target or "/"
        )
        authority = place.host if place.port == _PORTS[place.scheme] else f"{place.host}:{place.port}"
        headers = [("Host", authority), ("Accept-Encoding", "identity"), ("User-Agent", "markgraph")]
        with pool.stream("GET", asked, headers=headers) as response:
            given = {name.lower().decode(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS and "location" in given:
                return _joined(url, given["location"])
            self._check_type(url, given)
            return Fetched(url, response.status, given["content-type"], self._body(response, url))

    def _check_type(self, url: str, given: dict[str, str]) -> None:
        content_type = given.get("content-type", "")
        if not content_type.lower().startswith(self.content_types):
            allowed = ", ".join(self.content_types)
            raise SandboxError(f"{url!r} is of type {content_type[:100]!r}. Allowed: {allowed}.")
        if given.get("content-encoding", "identity") != "identity":  # a bomb, maybe
            raise SandboxError(f"{url!r} is compressed, and plain bytes were asked for.")

    def _body(self, response: httpcore.Response, url: str) -> bytes:
        body = bytearray()
        for piece in response.iter_stream():
            body += piece
            if len(body) > self.max_bytes:
                raise SandboxError(f"{url!r} is larger than the {self.max_bytes:,} bytes that are allowed.")
        return bytes(body)


def _joined(url: str, location: str) -> str:
    """Return where `url` redirects to.

    Raises:
        SandboxError: that is no URL.
    """
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise SandboxError(f"{url!r} redirects to what is no URL: {location[:200]!r}.") from error


@cache
def _trusted() -> ssl.SSLContext:
    """Return the certificates that are trusted; reading them takes longer than a request."""
    return httpcore.default_ssl_context()
