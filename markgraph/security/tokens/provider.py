"""Asks an identity provider over HTTP: at its own origin only, for a short time, and for little."""

import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx

from markgraph.errors import ConfigError, ProviderError, UnauthenticatedError
from markgraph.security.doors import is_loopback

SECONDS = 5.0
MAX_BYTES = 1_000_000
KNOWN_SECONDS = 300.0
"""How long its metadata counts."""
ACCEPT = {"accept": "application/json"}
DISCOVERY = (".well-known/openid-configuration", ".well-known/oauth-authorization-server")


class Provider:
    """An identity provider, known by its issuer URL; everything else of it comes from its metadata."""

    def __init__(
        self, issuer: str, origins: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Ask nobody yet. `origins` are further ones, `https://keys.example`, that its endpoints may be at.

        Raises:
            ConfigError: a URL is neither https nor this machine's own.
        """
        self.issuer, self._clock = issuer, clock
        self._allowed = frozenset(map(_safe_origin, (issuer, *origins)))
        self._known: tuple[float, dict[str, Any]] = (float("-inf"), {})

    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        """Read the machine's certificates once: that takes longer than a request."""
        return httpx.create_ssl_context(trust_env=False)

    def metadata(self) -> dict[str, Any]:
        """Return what the provider says, or said not long ago, of itself (OpenID Discovery, RFC 8414).

        Raises:
            ProviderError: it can't be asked, or speaks for another issuer.
        """
        asked_at, known = self._known
        if self._clock() - asked_at < KNOWN_SECONDS:
            return known
        place, other = map(self._well_known, DISCOVERY)
        found = self._ask("GET", place, missing_ok=True) or self.get(other)
        if found.get("issuer") != self.issuer:
            raise ProviderError(
                f"{self.issuer} describes another issuer. Check auth.issuer, also its last /."
            )
        self._known = (self._clock(), found)
        return found

    def endpoint(self, name: str) -> str:
        """Return the URL of the endpoint `name`, for example `jwks_uri`.

        Raises:
            ProviderError: there is none, or it is at an origin that the config does not allow.
        """
        url = self.metadata().get(name)
        if not isinstance(url, str):
            raise ProviderError(f"{self.issuer} has no {name}.")
        self._check(url)
        return url

    def get(self, url: str) -> dict[str, Any]:
        """Return the JSON object at `url`."""
        return self._ask("GET", url) or {}

    def post(self, url: str, form: Mapping[str, str], auth: tuple[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON object that `url` answers a form with.

        Raises:
            UnauthenticatedError: the provider refuses what the form holds, a code or a token.
            ProviderError: it can't be asked.
        """
        return self._ask("POST", url, data=dict(form), auth=auth) or {}

    def _well_known(self, place: str) -> str:
        """Return where metadata is: OpenID puts the path behind the issuer's, RFC 8414 before it."""
        if place.endswith("openid-configuration"):
            return f"{self.issuer.rstrip('/')}/{place}"
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}/{place}{parts.path.rstrip('/')}"

    def _check(self, url: str) -> None:
        if _origin(url) not in self._allowed:
            raise ProviderError(
                f"{self.issuer} sends to {url}, which is at another origin. If that is right, add it to "
                "auth.origins."
            )

    def _ask(
        self, method: str, url: str, *, missing_ok: bool = False, **options: Any
    ) -> dict[str, Any] | None:
        self._check(url)
        try:
            with (
                httpx.Client(
                    verify=self._trusted, timeout=SECONDS, trust_env=False, follow_redirects=False
                ) as client,
                client.stream(method, url, headers=ACCEPT, **options) as response,
            ):
                if missing_ok and response.status_code == httpx.codes.NOT_FOUND:
                    return None
                body = _limited(response)
            if method == "POST" and response.status_code == httpx.codes.BAD_REQUEST:
                raise UnauthenticatedError("The identity provider does not take this for genuine.")
            if response.status_code != httpx.codes.OK:
                raise ProviderError(f"{url} answered with status {response.status_code}.")
            answer = json.loads(body)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as error:
            raise ProviderError(f"Could not ask {url}: {error}. Is the identity provider up?") from error
        if not isinstance(answer, dict):
            raise ProviderError(f"{url} did not answer with a JSON object.")
        return answer


def _limited(response: httpx.Response) -> bytes:
    body = b""
    for piece in response.iter_bytes():
        body += piece
        if len(body) > MAX_BYTES:
            raise ProviderError(f"{response.url} answers with more than {MAX_BYTES} bytes.")
    return body


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError as error:
        raise ProviderError(f"{url!r} is no URL.") from error
    return parts.scheme, parts.hostname, port


def _safe_origin(url: str) -> tuple[str, str | None, int | None]:
    origin = scheme, host, _ = _origin(url)
    if not host or not (scheme == "https" or (scheme == "http" and is_loopback(host))):
        raise ConfigError(f"An identity provider is asked by https, or at this machine; got {url!r}.")
    return origin
