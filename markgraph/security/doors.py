"""How a request becomes a caller."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from markgraph.errors import DeniedError, UsageError
from markgraph.security.caller import Caller

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
"""Host names under which a machine reaches itself."""


class Door(Protocol):
    """Decides who sends a request, and where a server with it may listen."""

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

    def check_host(self, host: str) -> None:
        """Refuse to listen where others could connect.

        Raises:
            UsageError: `host` is not a loopback address.
        """
        if not is_loopback(host):
            raise UsageError(
                f"auth=none knows no users, so it serves this machine only. Got host={host}; "
                "allowed: 127.0.0.1, ::1, localhost."
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
        if not is_loopback(urlsplit(f"//{host}").hostname or ""):
            raise DeniedError(f"auth=none answers to this machine's own names only; got Host: {host}.")
        origin = headers.get("origin")
        if origin is not None and not is_loopback(urlsplit(origin).hostname or ""):
            raise DeniedError(f"auth=none answers pages of this machine only; this one is from {origin}.")
        return self.caller


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this machine as seen from itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
