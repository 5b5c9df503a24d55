"""`markgraph ingest` as processes: killed, interrupted, several at once, and idle."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from benchmarks.bombs import BOMBS
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex

pytestmark = pytest.mark.slow

FILES = 120
SMALL_STEPS = ("graph.index_documents.batch_size=4", "graph.index_documents.step_size=16")
FORBIDDEN = ("torch", "chromadb", "transformers")


class Clean(NamedTuple):
    """What an undisturbed run gives."""

    report: dict[str, Any]
    stored: tuple[set[str], set[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    for number in range(FILES):
        paragraphs = (f"## Part {part}\n\nClause {number} of part {part} is due.\n" for part in range(3))
        (folder / f"{number:03}.md").write_text(f"# Contract {number}\n\n" + "\n".join(paragraphs))
    return folder


def start(folder: Path, home: Path, *overrides: str) -> subprocess.Popen[str]:
    """Begin to ingest `folder` in a process of its own."""
    command = [sys.executable, "-m", "markgraph.cli", "ingest", str(folder), "embedder=hash", *overrides]
    return subprocess.Popen(
        [*command, "output=json"],
        env=os.environ | {"MARKGRAPH_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for an ingestion and return its report."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


def ids(index: Index) -> set[str]:
    """Return the ids of all chunks in an index."""
    found: set[str] = set()
    while batch := index.scan(max(found, default=""), 1000):
        found.update(chunk.id for chunk in batch)
    return found


def stored(home: Path) -> tuple[set[str], set[str]]:
    """Return the ids in both parts of the index, opened anew."""
    place = home / "documents"
    return ids(ChromaIndex(place / "chroma", HashEmbeddings())), ids(WordsIndex(place / "words.sqlite"))


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something holds while a process runs."""
    until = time.monotonic() + 120
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)


def finished(home: Path) -> int:
    """Return how many documents the ledger of a running ingestion has as finished."""
    ledger = home / "documents" / "ledger.sqlite"
    if not ledger.exists():
        return 0
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=ro", uri=True, timeout=30)) as database:
        try:
            query = "SELECT count(*) FROM documents WHERE fingerprint IS NOT NULL"
            return int(database.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # its tables are being made
            return 0


def readers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes in which documents are read."""
    return psutil.Process(process.pid).children()


@pytest.fixture(scope="module")
def clean(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    home = tmp_path_factory.mktemp("clean")
    report = report_of(start(folder, home))
    assert (report["added"], report["failed"]) == (FILES, 0)
    both = stored(home)
    assert len(both[0]) == len(both[1]) == report["chunks"]
    return Clean(report, both)


@pytest.mark.parametrize("at", [0, FILES // 3, FILES - 8])
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(
    folder: Path, tmp_path: Path, clean: Clean, at: int
) -> None:
    home = tmp_path / "home"
    process = start(folder, home, *SMALL_STEPS)
    wait_until(lambda: (home / "documents" / "ledger.sqlite").exists() and finished(home) >= at, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = finished(home)
    assert before < FILES
    rest = report_of(start(folder, home))
    assert (rest["added"], rest["unchanged"], rest["changed"]) == (FILES - before, before, 0)
    assert stored(home) == clean.stored


def test_ctrl_c_ends_cleanly_with_what_was_finished_kept(folder: Path, tmp_path: Path) -> None:
    process = start(folder, tmp_path / "home", *SMALL_STEPS)
    wait_until(lambda: finished(tmp_path / "home") >= 10, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.endswith("markgraph: Interrupted. What was finished is kept.\n")
    assert "Traceback" not in err
    before = finished(tmp_path / "home")
    assert 10 <= before < FILES
    rest = report_of(start(folder, tmp_path / "home"))
    assert (rest["added"], rest["unchanged"]) == (FILES - before, before)


def test_ctrl_c_does_not_wait_for_a_document_that_is_being_read(tmp_path: Path) -> None:
    folder, home = tmp_path / "documents", tmp_path / "home"
    folder.mkdir()
    (folder / "endless.pdf").write_bytes(BOMBS["endless-forms.pdf"]())
    process = start(folder, home, "index=words", "corpus.parser.memory=4096")

    wait_until(lambda: any(child.cpu_times().user > 2 for child in readers_of(process)), process)
    for child in readers_of(process):
        child.suspend()  # it would end of itself when memory does
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert (process.returncode, out) == (130, "")
    assert err.endswith("markgraph: Interrupted. What was finished is kept.\n")
    assert "Traceback" not in err


def test_of_runs_at_once_one_works_and_the_others_wait(folder: Path, tmp_path: Path, clean: Clean) -> None:
    processes = [start(folder, tmp_path / "home") for _ in range(3)]
    reports = [report_of(process) for process in processes]
    assert sorted(report["added"] for report in reports) == [0, 0, FILES]
    assert sorted(report["unchanged"] for report in reports) == [0, FILES, FILES]
    assert stored(tmp_path / "home") == clean.stored


def test_a_killed_run_does_not_keep_others_waiting(folder: Path, tmp_path: Path) -> None:
    first = start(folder, tmp_path / "home", *SMALL_STEPS)
    wait_until(lambda: finished(tmp_path / "home") >= 1, first)
    second = start(folder, tmp_path / "home")
    first.kill()
    first.communicate()
    report = report_of(second)
    assert report["added"] + report["unchanged"] == FILES


def test_nothing_heavy_is_imported_when_nothing_is_to_be_done(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    report_of(start(folder, home))
    program = (
        "import json, sys; from markgraph.cli import run;"
        f"code = run(['ingest', {str(folder)!r}, 'embedder=hash']);"
        f"print(json.dumps([code, [name for name in {FORBIDDEN!r} if name in sys.modules]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"MARKGRAPH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{FILES} unchanged" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1]) == [0, []]
