"""Chroma's server passes the suite, and only a server that is safe to ask is asked."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from markgraph.errors import ConfigError, StorageError
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma_server import ChromaServerIndex
from markgraph.retrieval.dense import Embedder
from tests.retrieval.dense_suite import DenseSuite
from tests.retrieval.index_suite import ANNA, chunk, found
from tests.servers import free_port


class TestChromaServerIndex(DenseSuite):
    @pytest.fixture(autouse=True)
    def _server(self, chroma_port: int) -> None:
        self.port = chroma_port

    def make_dense(self, path: Path, embedder: Embedder) -> ChromaServerIndex:
        return ChromaServerIndex(embedder, path.name, port=self.port)

    def test_collections_do_not_mix(self, tmp_path: Path) -> None:
        one, other = (ChromaServerIndex(HashEmbeddings(), name, port=self.port) for name in ("one", "other"))
        one.add([chunk("payment")])
        assert found(one, "payment", ANNA) == {"payment"}
        assert found(other, "payment", ANNA) == set()


@pytest.mark.parametrize("host", ["chroma.example", "10.0.0.7", "0.0.0.0", "::", "127.0.0.1.example"])
def test_refuses_a_host_that_is_not_this_machine(host: str) -> None:
    with pytest.raises(ConfigError, match=r"asks nobody who they are.*allow_remote=true"):
        ChromaServerIndex(HashEmbeddings(), host=host)
    assert ChromaServerIndex(HashEmbeddings(), host=host, allow_remote=True).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_takes_this_machine(host: str) -> None:
    assert ChromaServerIndex(HashEmbeddings(), host=host).host == host


def test_says_how_to_start_a_server_that_does_not_answer() -> None:
    index = ChromaServerIndex(HashEmbeddings(), port=free_port())
    with pytest.raises(StorageError, match=r"Is it running\? Start it with: chroma run"):
        index.search("payment", ANNA, 1)


def test_refuses_the_python_server() -> None:
    class Uvicorn(BaseHTTPRequestHandler):
        """Answers as uvicorn, which runs Chroma's Python server, does."""

        def version_string(self) -> str:
            return "uvicorn"

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Uvicorn) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        index = ChromaServerIndex(HashEmbeddings(), port=server.server_port)
        with pytest.raises(StorageError, match="CVE-2026-45829"):
            index.search("payment", ANNA, 1)
        server.shutdown()


def test_does_not_send_documents_through_a_proxy(monkeypatch: pytest.MonkeyPatch, chroma_port: int) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    index = ChromaServerIndex(HashEmbeddings(), port=chroma_port)
    with pytest.raises(ConfigError, match=r"Add 127\.0\.0\.1 to NO_PROXY"):
        index.search("payment", ANNA, 1)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert index.search("payment", ANNA, 1) == []
