"""Connects to public addresses only, and until a deadline only.

A name is looked up once, every address that it has must be public, and the connection goes to one of these: a
name that means another machine a moment later (DNS rebinding) gains nothing.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import httpcore

from markgraph.errors import SandboxError

Resolve = Callable[[str, int], list[str]]
_UNICAST_6 = ip_network("2000::/3")
"""All that IPv6 has given out: not NAT64, not IPv4 in other clothes, not local."""
_HIDDEN = tuple(
    map(
        ip_network,
        # Protocols' own and Teredo, 6to4 and its relays, documentation; Azure's, from within its machines.
        ("192.0.0.0/24", "2001::/23", "2002::/16", "192.88.99.0/24", "3fff::/20", "168.63.129.16/32"),
    )
)
"""What Python's own tables let pass, or did in some release."""


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of `host`, as the system's resolver has them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: str) -> bool:
    """Tell whether `address` is on the internet, and not a private one by another name."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if ip.scope_id or ip not in _UNICAST_6:
            return False
    if any(ip in network for network in _HIDDEN if network.version == ip.version):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


@dataclass(frozen=True)
class PublicNetwork(httpcore.NetworkBackend):
    """Opens connections for one request."""

    deadline: float
    """On the clock of `time.monotonic`."""
    resolve: Resolve
    network: httpcore.NetworkBackend
    """What opens a connection to an address."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 -- the deadline counts
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to an address of `host`.

        Raises:
            SandboxError: the name is unknown, or one of its addresses is not public.
        """
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise SandboxError(f"The resolver does not know {host}.") from error
        if not found or not all(map(is_public, found)):
            raise SandboxError(f"{host} has an address that is not public, or none at all.")
        left = _left(self.deadline)
        stream = self.network.connect_tcp(found[0], port, left, local_address, socket_options)
        return _Stream(stream, self.deadline)


@dataclass(frozen=True)
class _Stream(httpcore.NetworkStream):
    """A connection whose every step has only what is left of the time: a byte a second is slow, too."""

    inner: httpcore.NetworkStream
    deadline: float

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self.inner.read(max_bytes, _left(self.deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self.inner.write(buffer, _left(self.deadline))

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        inner = self.inner.start_tls(ssl_context, server_hostname, _left(self.deadline))
        return _Stream(inner, self.deadline)

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is up")
    return left
