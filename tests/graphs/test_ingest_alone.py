"""One ingestion at a time writes to a collection, whether a command or a program runs it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from markgraph.errors import StorageError
from markgraph.ingestion.corpora import Folder, Item
from markgraph.ingestion.lock import alone
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex
from tests.graphs.ingesting import WRITER, ingest
from tests.retrieval.index_suite import found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.md").write_text("# Terms\n\nPayment is due.\n")
    return tmp_path / "documents"


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return WordsIndex(tmp_path / "words.sqlite")


def test_a_program_waits_for_whoever_holds_the_collection(
    folder: Path, index: Index, capsys: pytest.CaptureFixture[str]
) -> None:
    reports: list[Any] = []
    thread = threading.Thread(target=lambda: reports.append(ingest(folder, index)))
    with alone(folder.parent):
        thread.start()
        thread.join(0.3)
        assert (reports, len(index)) == ([], 0)
    thread.join()
    assert reports[0]["added"] == 1
    assert "Another ingestion of this collection is running; waiting" in capsys.readouterr().err


def test_who_holds_the_collection_may_ingest(folder: Path, index: Index) -> None:
    with alone(folder.parent), alone(folder.parent / "."):
        assert ingest(folder, index)["added"] == 1


class Narrowing(Folder):
    """A folder that somebody else narrows while it is listed."""

    def __init__(self, folder: Path, index: Index) -> None:
        super().__init__(folder)
        self.folder, self.index = folder, index

    def items(self) -> Iterator[Item]:
        ingest(self.folder, self.index, ("g:hr",))
        return super().items()


def test_a_run_writes_nothing_after_another_began(folder: Path, index: Index) -> None:
    ingest(folder, index)
    (folder / "a.md").write_text("# Terms\n\nPayment was due.\n")
    with pytest.raises(StorageError, match=r"Another ingestion .* began meanwhile"):
        ingest(folder, index, corpus=Narrowing(folder, index))
    assert found(index, "payment", WRITER) == set()
