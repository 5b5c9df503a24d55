"""A collection that names an embedding function of its writer's choice: Chroma calls it, MARK doesn't."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from tests.retrieval.index_suite import chunk

ROOT = Path(__file__).parents[2]
CANARY = "canary-of-the-environment"
OURS = """
import sys
from pathlib import Path
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from tests.retrieval.index_suite import ANNA, chunk
index = ChromaIndex(Path(sys.argv[1]), HashEmbeddings())
assert [hit.chunk.text for hit in index.search("payment", ANNA, 5)] == ["payment is due"]
index.add([chunk("another payment", source="b")])
assert len(index.search("payment", ANNA, 5)) == len(index.scan()) == len(index) == 2
"""
CHROMAS = """
import sys, chromadb
client = chromadb.PersistentClient(sys.argv[1])
try:
    client.get_collection("chunks", embedding_function=None).query(query_texts=["a secret question"])
except Exception as error:
    print(type(error), error)
"""


@pytest.fixture
def heard() -> Iterator[tuple[str, list[bytes]]]:
    """Listen on loopback, and keep what is sent."""
    requests: list[bytes] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            requests.append(str(self.headers).encode() + body)
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", requests
        server.shutdown()
        thread.join()


def run(program: str, folder: Path) -> str:
    command = [sys.executable, "-c", program, str(folder)]
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "MARK_SECRET": CANARY,
        "HOME": str(folder),
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_asks_the_collection_with_our_own_vectors_and_nobody_else(
    tmp_path: Path, heard: tuple[str, list[bytes]]
) -> None:
    url, requests = heard
    ChromaIndex(tmp_path, HashEmbeddings()).add([chunk("payment is due", source="a")])
    config = {"url": url, "api_key_env_var": "MARK_SECRET"}
    poison = {"type": "known", "name": "huggingface_server", "config": config}
    with sqlite3.connect(tmp_path / "chroma.sqlite3") as database:
        [(schema,)] = database.execute("SELECT schema_str FROM collections").fetchall()
        poisoned = schema.replace('{"type":"legacy"}', json.dumps(poison))
        assert poisoned != schema
        database.execute("UPDATE collections SET schema_str = ?", [poisoned])
    database.close()
    run(OURS, tmp_path)
    assert requests == []
    told = run(CHROMAS, tmp_path)
    assert any(CANARY.encode() in each and b"a secret question" in each for each in requests), told
