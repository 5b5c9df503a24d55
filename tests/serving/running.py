"""An application that a real server serves on loopback, in a thread of the test."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from markgraph.build import compose, make_service
from markgraph.security.guard import Guard


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve `app`, and give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


def raw(address: str, sent: bytes, *, read: bool = True, seconds: float = 10) -> bytes:
    """Send bytes as they are, and return what comes back until the server closes or is silent."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port or 80), timeout=seconds) as connection:
        connection.sendall(sent)
        got = b""
        try:
            while read and (piece := connection.recv(65536)):
                got += piece
        except OSError:
            pass
        return got


def post_head(path: str, *headers: str) -> bytes:
    """Return the head of a POST request of JSON."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def default_guard() -> Guard:
    """Return what lets callers do what the default policy allows."""
    return Guard(make_service(compose("serve"), "policy"))
