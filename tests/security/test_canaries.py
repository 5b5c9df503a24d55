"""Words that only this test knows go through all of MARK; with a keyring, none is found on the disk."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg.sql import SQL, Identifier

from markgraph.build import build_graph, compose, make
from markgraph.cli import run
from markgraph.security.caller import thread_key
from markgraph.serving.app import create_app
from tests.servers import own_postgres
from tests.serving.running import default_guard

pytestmark = [
    # LangServe reads an attribute that pydantic has moved since.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.slow,
]
NO_WEIGHTS = ["experiment=no_weights", "model=fake"]
QUESTION = "Within how many days shall the canaryquestion customer pay each invoice?"
DOCUMENT = """# Canarytitle

The canaryanswer customer shall pay each invoice within 30 days of receipt.

## Canaryheading

Article 7 says what canarydocument means. “Canaryterm” means a bird, as in Article 7.
"""
IN_DOCUMENT = ["canarytitle", "canaryanswer", "canaryheading", "canarydocument", "canaryterm"]
CREDENTIALS = ["canarytoken", "canarykey"]
NAME = "canaryname"


@pytest.fixture(params=["sqlite", "postgres"])
def checkpoint(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Keep threads in each of the places."""
    if request.param == "sqlite":
        yield "sqlite"
        return
    with own_postgres() as postgres:
        monkeypatch.setenv("MARKGRAPH_POSTGRES", postgres.conninfo)
        yield "postgres"


def go_through(folder: Path, options: list[str]) -> None:
    """Ingest a document, and ask about it through every door."""
    (folder / "terms.md").write_text(DOCUMENT, "utf-8")
    assert run(["ingest", str(folder), NO_WEIGHTS[0], *options[:1]]) == 0
    assert run(["ask", QUESTION, f"thread={NAME}", *NO_WEIGHTS, *options]) == 0
    config = compose("serve", [*NO_WEIGHTS, *options])
    graph, door = build_graph(config), make(config, "auth")
    headers = {"authorization": "Bearer canarytoken", "x-api-key": "canarykey", "x-thread-id": NAME}
    app = create_app({"qa": graph}, door, default_guard())
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1)) as http:
        asked = {"input": {"question": QUESTION}, "config": {"metadata": {"bearer": "canarytoken"}}}
        answer = http.post("/qa/invoke", json=asked, headers=headers).json()["output"]
    assert "canaryanswer" in answer["answer"]
    named: Any = {"configurable": {"thread_id": thread_key(door.caller, NAME), "api_key": "canarykey"}}
    graph.invoke({"question": QUESTION}, named | {"metadata": {"bearer": "canarytoken"}}, context=door.caller)
    assert graph.get_state(named).values["question"] == QUESTION


def kept(home: Path, checkpoint: str) -> bytes:
    """Return every byte below `home`, names included, and every cell of every table, in lower case."""
    files = [file for file in home.rglob("*") if file.is_file()]
    cells = [b"".join([str(file).encode(), file.read_bytes()]) for file in files]
    if checkpoint == "postgres":
        cells += cells_of(os.environ["MARKGRAPH_POSTGRES"])
    return b"\n".join(cells).lower()


def cells_of(conninfo: str) -> Iterator[bytes]:
    """Yield every cell of every table of Postgres."""
    with psycopg.connect(conninfo) as connection:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        for (table,) in connection.execute(query).fetchall():
            for row in connection.execute(SQL("SELECT * FROM {}").format(Identifier(table))):
                yield from (cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)


def found(canaries: list[str], text: bytes) -> list[str]:
    return [canary for canary in canaries if canary.encode() in text]


def test_with_a_keyring_nothing_lies_in_clear(
    home: Path,
    tmp_path: Path,
    checkpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MARKGRAPH_KEYRING", str(tmp_path / "keyring.json"))
    documents = tmp_path / "documents"
    documents.mkdir()
    assert run(["keys", "rotate"]) == 0
    with caplog.at_level(logging.INFO):
        go_through(documents, ["seal=keyring", f"checkpoint={checkpoint}"])
    everything = [*IN_DOCUMENT, "canaryquestion", *CREDENTIALS, NAME]
    assert found(everything, kept(home, checkpoint)) == []
    assert found(everything, caplog.text.lower().encode()) == []
    assert found([*IN_DOCUMENT, *CREDENTIALS, NAME], capsys.readouterr().err.lower().encode()) == []


def test_without_one_the_same_scan_finds_them(home: Path, tmp_path: Path, checkpoint: str) -> None:
    # Else the test above would prove nothing.
    documents = tmp_path / "documents"
    documents.mkdir()
    go_through(documents, ["seal=none", f"checkpoint={checkpoint}"])
    everything = [*IN_DOCUMENT, "canaryquestion", *CREDENTIALS, NAME]
    assert found(everything, kept(home, checkpoint)) == everything
