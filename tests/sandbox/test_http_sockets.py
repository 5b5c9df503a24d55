"""The HTTP guard over real sockets, led to a server of this process instead of the address it asks for."""

import datetime
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from markgraph.errors import SandboxError
from markgraph.sandbox.http import HttpGuard

PUBLIC = "93.184.216.34"


class Rerouted(httpcore.SyncBackend):
    """Connects to loopback, and remembers where it should have connected to."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        self.asked.append(host)
        return super().connect_tcp("127.0.0.1", port, timeout, local_address, socket_options)


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/page")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        if self.path == "/slow":
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        self.wfile.write(f"{self.headers['Host'].partition(':')[0]} {self.path}".encode())

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError):  # the guard hung up
            super().handle()


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def guard(server: ThreadingHTTPServer, scheme: str = "http", **settings: Any) -> HttpGuard:
    return HttpGuard(
        frozenset({"example.org"}),
        ports=frozenset({server.server_port}),
        schemes=frozenset({scheme}),
        resolve=lambda host, port: [PUBLIC],
        network=Rerouted(),
        **settings,
    )


def test_gets_pages_and_follows_redirects(server: ThreadingHTTPServer) -> None:
    guarded = guard(server)
    page = guarded.get(f"http://example.org:{server.server_port}/moved")
    assert (page.status, page.body) == (200, b"example.org /page")
    assert isinstance(guarded.network, Rerouted)
    assert set(guarded.network.asked) == {PUBLIC}


def test_ends_a_slow_answer_in_time(server: ThreadingHTTPServer) -> None:
    began = time.monotonic()
    with pytest.raises(SandboxError, match="took longer"):
        guard(server, seconds=0.5).get(f"http://example.org:{server.server_port}/slow")
    assert time.monotonic() - began < 3


def test_refuses_a_certificate_that_nobody_vouches_for(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path / "own.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with pytest.raises(SandboxError, match="could not be fetched"):
        guard(server, "https").get(f"https://example.org:{server.server_port}/page")


def test_a_port_that_nobody_listens_at_is_an_error() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as gone:
        guarded = guard(gone)
    with pytest.raises(SandboxError, match="could not be fetched"):
        guarded.get(f"http://example.org:{gone.server_port}/page")


def certificate(place: Path) -> Path:
    """Write a key, and a certificate for example.org that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.org")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    place.write_bytes(private + signed.public_bytes(pem))
    return place
