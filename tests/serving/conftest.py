"""A server on loopback, started as a person starts it, over a collection of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from markgraph.audit.file import FileAudit
from markgraph.audit.verify import records

ROOT = Path(__file__).parents[2]
LANGGRAPH = Path(sys.executable).with_name("langgraph")
STAND_INS = ("experiment=no_weights", "model=fake")
PAY = "Within how many days must the customer pay an invoice?"
ANSWER = "The customer shall pay each invoice within 30 days of receipt. [1]"


@pytest.fixture(scope="session")
def server_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ingest a document for everybody, and one for a group, into a home for servers."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "terms.md").write_text(
        "# Terms\n\nThe customer shall pay each invoice within 30 days of receipt.\n"
    )
    secret = tmp_path_factory.mktemp("contracts")
    (secret / "contract.md").write_text(
        "# Contract\n\nThe liability of the supplier is capped at 150 % of fees.\n"
    )
    home = tmp_path_factory.mktemp("home")
    for place, readers in ((folder, "public"), (secret, "g:legal")):
        command = [sys.executable, "-m", "markgraph.cli", "ingest", str(place)]
        options = ["experiment=no_weights", f"readers=[{readers}]"]
        environment = os.environ | {"MARKGRAPH_HOME": str(home)}
        subprocess.run([*command, *options], env=environment, check=True, capture_output=True)
    return home


@pytest.fixture(scope="session")
def server(server_home: Path) -> Iterator[str]:
    """Start `markgraph serve` on a free port and return its address."""
    command = [sys.executable, "-m", "markgraph.cli", "serve", "port=0", *STAND_INS]
    environment = os.environ | {"MARKGRAPH_HOME": str(server_home)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield address_of(process.stderr)
        finally:
            process.terminate()


def address_of(stderr: IO[str] | None) -> str:
    assert stderr is not None
    for line in stderr:
        if "http://" in line:
            address = line.split()[2].removesuffix("/qa/playground/")
            wait_for(f"{address}/health")
            return address
    raise AssertionError("the server ended before it served")


def wait_for(url: str, seconds: float = 60) -> None:
    """Wait until `url` answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer within {seconds} s")


def log_of_questions(log: FileAudit) -> list[dict[str, Any]]:
    """Return the records of questions that were answered or refused."""
    return [record for record in records(log.folder) if "question" in record]


@contextmanager
def langgraph_server(home: Path, folder: Path, *overrides: str, train: str = "") -> Iterator[str]:
    """Start `langgraph dev` on a copy of langgraph.json, so that its files stay out of the project.

    `train` holds the overrides of what it trains.
    """
    shutil.copy(ROOT / "langgraph.json", folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "MARKGRAPH_HOME": str(home),
        "MARKGRAPH_OVERRIDES": " ".join(["embedder=hash collection=no_weights model=fake", *overrides]),
        "MARKGRAPH_TRAIN": train,
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    }
    command = [str(LANGGRAPH), "dev", "--no-browser", "--no-reload", "--port", str(port)]
    command += ["--n-jobs-per-worker", "4"]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}/ok", seconds=120)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
