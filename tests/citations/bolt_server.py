"""A real server for the Neo4j graph: ArcadeDB, which speaks Bolt and openCypher, and comes as a wheel.

Neo4j's own server is on no package index that pip reads. The wheel brings its Java along.
"""

import importlib.util
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "for-the-tests"
DATABASE = "citations"
SECONDS_TO_START = 120


def wheel() -> Path | None:
    """Return the folder of the installed package, which is not imported: it would start a JVM here."""
    spec = importlib.util.find_spec("arcadedb_embedded")
    return Path(spec.origin).parent if spec and spec.origin else None


@contextmanager
def bolt_server(package: Path, folder: Path) -> Iterator[str]:
    """Run a server whose files are in `folder`; yield its address."""
    (folder / "log").mkdir(parents=True)
    bolt, http = _free_port(), _free_port()
    options = {
        "server.rootPassword": PASSWORD,
        "server.rootPath": folder,
        "server.plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
        "server.defaultDatabases": f"{DATABASE}[root]",
        "server.httpIncomingHost": "127.0.0.1",
        "server.httpIncomingPort": http,
        "bolt.host": "127.0.0.1",
        "bolt.port": bolt,
    }
    command = [package / "jre/bin/java", "-Xmx512m", "-cp", f"{package}/jars/*"]
    command += [f"-Darcadedb.{name}={value}" for name, value in options.items()]
    with (folder / "out.txt").open("w") as out:
        server = subprocess.Popen(
            [*map(str, command), "com.arcadedb.server.ArcadeDBServer"], stdout=out, stderr=out, cwd=folder
        )
    try:
        _wait_for("ArcadeDB Server started", folder / "out.txt", server)
        yield f"bolt://127.0.0.1:{bolt}"
    finally:
        server.terminate()
        server.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(line: str, log: Path, server: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + SECONDS_TO_START
    while line not in log.read_text():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)
