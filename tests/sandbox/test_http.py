"""The HTTP guard, over a resolver that lies and a network that never leaves this process."""

import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from markgraph.errors import SandboxError
from markgraph.sandbox.http import HttpGuard
from tests.sandbox.attacks import HIDDEN, URLS

PUBLIC = "93.184.216.34"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


@dataclass
class Stream(httpcore.NetworkStream):
    """Gives an answer piece by piece."""

    pieces: list[bytes]
    pause: float
    sent: bytearray

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        assert timeout is not None
        if self.pause > timeout:
            time.sleep(timeout)
            raise httpcore.ReadTimeout
        time.sleep(self.pause)
        return self.pieces.pop(0) if self.pieces else b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.sent += buffer

    def close(self) -> None:
        pass

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        assert ssl_context.verify_mode == ssl.CERT_REQUIRED
        assert ssl_context.check_hostname
        self.sent += f"<{server_hostname}>".encode()
        return self

    def get_extra_info(self, info: str) -> Any:
        return None


@dataclass
class Network(httpcore.NetworkBackend):
    """Remembers which addresses were connected to; answers each with the next of `answers`."""

    answers: list[bytes | list[bytes]]
    pause: float = 0
    connected: list[tuple[str, int]] = field(default_factory=list)
    sent: bytearray = field(default_factory=bytearray)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        self.connected.append((host, port))
        answer = self.answers.pop(0)
        return Stream(answer if isinstance(answer, list) else [answer], self.pause, self.sent)


def guard(*answers: bytes | list[bytes], address: str = PUBLIC, **settings: Any) -> HttpGuard:
    hosts = frozenset({"example.org", "www.example.org", *settings.pop("more", ())})
    network = Network(list(answers), settings.pop("pause", 0))
    options = {"resolve": lambda host, port: [address]} | settings
    return HttpGuard(hosts, network=network, **options)


def network_of(guarded: HttpGuard) -> Network:
    assert isinstance(guarded.network, Network)
    return guarded.network


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def test_gets_a_page_at_the_address_that_was_checked_under_the_hosts_name() -> None:
    guarded = guard(PAGE)
    page = guarded.get("https://example.org/a/b?c=d#e")
    assert (page.status, page.body, page.content_type) == (200, b"hello", "text/plain")
    network = network_of(guarded)
    assert network.connected == [(PUBLIC, 443)]
    sent = bytes(network.sent)
    assert sent.startswith(b"<example.org>GET /a/b?c=d HTTP/1.1\r\n")
    assert b"Host: example.org\r\n" in sent
    assert b"ookie" not in sent


@pytest.mark.parametrize("url", URLS)
def test_refuses_what_is_not_on_the_list_and_asks_nobody(url: str) -> None:
    asked = []
    guarded = guard(PAGE, resolve=lambda host, port: asked.append(host) or [PUBLIC])
    with pytest.raises(SandboxError):
        guarded.get(url)
    assert (asked, network_of(guarded).connected) == ([], [])


@pytest.mark.parametrize("address", HIDDEN)
def test_refuses_a_host_with_an_address_that_is_not_public(address: str) -> None:
    for found in ([address], [PUBLIC, address], [address, PUBLIC]):
        guarded = guard(PAGE, resolve=lambda host, port, found=found: found)
        with pytest.raises(SandboxError, match="not public"):
            guarded.get("https://example.org/")
        assert network_of(guarded).connected == []


def test_an_address_on_the_list_must_be_public_all_the_same() -> None:
    guarded = guard(PAGE, address="127.0.0.1", more=["127.0.0.1"])
    with pytest.raises(SandboxError, match="not public"):
        guarded.get("https://127.0.0.1/")


def test_a_name_that_means_another_machine_a_moment_later_gains_nothing() -> None:
    looked_up = iter([[PUBLIC], ["127.0.0.1"]])
    guarded = guard(PAGE, PAGE, resolve=lambda host, port: next(looked_up))
    assert guarded.get("https://example.org/").body == b"hello"
    assert network_of(guarded).connected == [(PUBLIC, 443)], "one look-up, and its answer"
    with pytest.raises(SandboxError, match="not public"):
        guarded.get("https://example.org/")


def test_a_resolver_that_knows_nothing_is_an_error() -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(SandboxError, match="does not know"):
        guard(PAGE, resolve=nobody).get("https://example.org/")
    with pytest.raises(SandboxError, match="none at all"):
        guard(PAGE, resolve=lambda host, port: []).get("https://example.org/")


@pytest.mark.parametrize(
    "where",
    ["http://example.org/", "https://evil.test/", "https://127.0.0.1/", "//evil.test/", "file:///etc/passwd",
     "https://user@example.org/", "\\\\evil.test", "https://example.org:22/", "http://[", "//[::1"],
)  # fmt: skip
def test_checks_where_a_redirect_leads(where: str) -> None:
    guarded = guard(answer("302 Found", f"Location: {where}"), PAGE)
    with pytest.raises(SandboxError):
        guarded.get("https://example.org/")
    assert len(network_of(guarded).connected) == 1


def test_follows_a_redirect_to_an_allowed_host_and_looks_it_up_anew() -> None:
    looked_up = {"example.org": PUBLIC, "www.example.org": "127.0.0.1"}
    moved = answer("301 Moved", "Location: https://www.example.org/b")
    guarded = guard(moved, PAGE, resolve=lambda host, port: [looked_up[host]])
    with pytest.raises(SandboxError, match=r"www\.example\.org has an address that is not public"):
        guarded.get("https://example.org/a")
    assert guard(moved, PAGE).get("https://example.org/a").url == "https://www.example.org/b"
    assert guard(answer("307 x", "Location: ../c"), PAGE).get("https://example.org/a/b").url.endswith("/c")


def test_stops_after_some_redirects() -> None:
    with pytest.raises(SandboxError, match="more than 3 redirects"):
        guard(*[answer("302 Found", "Location: /next")] * 9).get("https://example.org/")


def test_stops_at_a_size_whatever_the_header_says() -> None:
    large = answer("200 OK", "Content-Type: text/plain", body=b"x" * 101)
    endless = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
    for page in (large, [endless, *[b"x" * 50] * 1000]):
        with pytest.raises(SandboxError, match="larger than the 100 bytes"):
            guard(page, max_bytes=100).get("https://example.org/")
    whole = answer("200 OK", "Content-Type: text/plain", body=b"x" * 100)
    assert len(guard(whole, max_bytes=100).get("https://example.org/").body) == 100


@pytest.mark.parametrize("in_headers", [True, False])
def test_stops_at_a_time_however_slowly_bytes_drip(in_headers: bool) -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
    drip = [start, *[b"a: b\r\n" if in_headers else b"x"] * 1000]
    if not in_headers:
        drip.insert(1, b"\r\n")
    began = time.monotonic()
    with pytest.raises(SandboxError, match=r"took longer than the 0\.3 s"):
        guard(drip, pause=0.02, seconds=0.3).get("https://example.org/")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "headers",
    [["Content-Type: application/octet-stream"], ["Content-Type: image/png"], [],
     ["Content-Type: text/plain", "Content-Encoding: gzip"], ["Content-Type: multipart/x; text/plain"]],
)  # fmt: skip
def test_refuses_what_is_no_text(headers: list[str]) -> None:
    with pytest.raises(SandboxError, match=r"Allowed|plain bytes"):
        guard(answer("200 OK", *headers, body=b"x")).get("https://example.org/")


@pytest.mark.parametrize("reply", [b"", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\n\x00: x\r\n\r\n"])
def test_an_answer_that_is_none_is_an_error(reply: bytes) -> None:
    with pytest.raises(SandboxError, match="could not be fetched"):
        guard(reply).get("https://example.org/")


def test_uses_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    guarded = guard(PAGE)
    guarded.get("https://example.org/")
    assert network_of(guarded).connected == [(PUBLIC, 443)]


PARTS = st.sampled_from(
    ["https:", "http:", "//", "/", "\\", "@", ":", "443", "80", "example.org", "evil.test", "127.0.0.1",
     "[::1]", "?", "#", "%2e", ".", "\t", "\n", " ", "user", "；", "。", "%40", "..", "a"]
)  # fmt: skip


@settings(max_examples=1000)
@given(st.lists(PARTS, max_size=9).map("".join))
@example("https://example.org/")
def test_no_url_however_written_leads_to_another_host(url: str) -> None:
    asked: list[tuple[str, int]] = []
    guarded = guard(PAGE, resolve=lambda host, port: asked.append((host, port)) or [PUBLIC])
    try:
        guarded.get(url)
    except SandboxError:
        assert network_of(guarded).connected == []
    assert set(asked) <= {("example.org", 443)}
    for line in bytes(network_of(guarded).sent).splitlines():
        assert not line.startswith(b"Host:") or line == b"Host: example.org"
