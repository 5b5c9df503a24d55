"""References to a model hub, against as much of one as its library asks for."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from markgraph.errors import WeightsError
from markgraph.models.source import digest, resolve
from tests.models.package_index import names_in, sha, start_child

COMMIT = "c" * 40
HUB_FILES = {"model.safetensors": b"weights", "config.json": b"{}", "pytorch_model.bin": b"x", "run.py": b"x"}


class Hub(BaseHTTPRequestHandler):
    """As much of a model hub as the library asks for: revision, tree and files."""

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if self.path == "/api/models/owner/name/revision/v1":
            self.answer(json.dumps({"id": "owner/name", "sha": COMMIT}).encode())
        elif self.path.startswith(f"/api/models/owner/name/tree/{COMMIT}"):
            tree = [{"type": "file", "path": n, "size": len(c), "oid": sha(c)} for n, c in HUB_FILES.items()]
            self.answer(json.dumps(tree).encode())
        elif self.path == f"/owner/name/resolve/{COMMIT}/{name}":
            self.answer(HUB_FILES[name], {"ETag": f'"{sha(HUB_FILES[name])}"', "X-Repo-Commit": COMMIT})
        else:
            known = self.path.startswith("/api/models/owner/name/")
            self.answer(b"", {"X-Error-Code": "RevisionNotFound" if known else "RepoNotFound"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, body: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[dict[str, str]]:
    """Yield the environment in which the hub's library asks ours; it reads that when it is imported."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield {"HF_ENDPOINT": url, "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0", "HF_TOKEN": ""}
        server.shutdown()
        thread.join()


def test_fetches_the_safe_files_of_a_hub_repository(hub: dict[str, str], cache: Path) -> None:
    child = start_child("hf:owner/name@v1", **hub)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    folder = Path(out.strip())
    assert folder.is_relative_to(cache / "weights/hf")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json"}
    assert resolve("hf:owner/name@v1", digest(folder)) == folder  # here nothing leads to the hub
    with pytest.raises(WeightsError, match=f"Got SHA-256 {digest(folder)}"):
        resolve("hf:owner/name@v1", "0" * 64)
    assert "model.safetensors" not in names_in(cache)
    assert not any(path.read_bytes() == b"weights" for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("reference", "environment", "message"),
    [
        ("hf:owner/other@v1", {}, "The hub has no model 'owner/other'"),
        ("hf:owner/name@v2", {}, "owner/name has no revision 'v2'"),
        ("hf:owner/name@v1", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "copy the files here and use file:PATH"),
    ],
)
def test_says_what_a_hub_lacks(
    reference: str, environment: dict[str, str], message: str, hub: dict[str, str], cache: Path
) -> None:
    child = start_child(reference, **hub | environment)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "markgraph.errors.WeightsError" in err
    assert message in err
    assert "Got: Got:" not in err
