"""What the ingestion graph does about documents that can't be read, and about runs that die."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from markgraph.documents.types import Document
from markgraph.ingestion.corpora import Folder, Item
from markgraph.ingestion.report import Details
from markgraph.nodes.index_documents import IndexDocuments
from markgraph.retrieval.types import Chunk, Index, Vectors
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.state import FAILURES
from tests.graphs.ingesting import LEGAL, WRITER, ingest
from tests.retrieval.index_suite import found

LONG = "\n## More\n\nThis section has nothing to do with it at all. " * 30


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return WordsIndex(tmp_path / "words.sqlite")


def test_a_broken_file_costs_only_itself(folder: Path, index: Index) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 this is no PDF")
    report = ingest(folder, index)
    assert (report["added"], report["failed"]) == (3, 1)
    (failure,) = report["failures"]
    assert failure["source"] == f"{folder}/broken.pdf"
    assert failure["kind"].endswith("Error")
    assert "broken.pdf" in failure["reason"]


def test_a_file_that_breaks_later_keeps_its_last_good_version(folder: Path, index: Index) -> None:
    ingest(folder, index)
    (folder / "a.md").write_bytes(b"\0\0\0binary")
    report = ingest(folder, index)
    assert report["failed"] == 1
    assert any("Payment a" in text for text in found(index, "payment", WRITER))


class Dying:
    """An index that dies after some chunks, like a killed process."""

    embedder = None

    def __init__(self, inner: Index, after: int) -> None:
        self.inner, self.left = inner, after

    @property
    def stores(self) -> tuple[str, ...]:
        return self.inner.stores

    def add(self, chunks: list[Chunk], vectors: Vectors | None = None) -> None:
        for chunk in chunks:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            self.inner.add([chunk], vectors)

    def remove(self, ids: list[str]) -> None:
        self.inner.remove(ids)

    def permit(self, ids: list[str], permissions: Permissions) -> None:
        self.inner.permit(ids, permissions)

    def search(self, query: str, caller: Caller, k: int) -> Any:
        return self.inner.search(query, caller, k)

    def __len__(self) -> int:
        return len(self.inner)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_run_goes_on(folder: Path, index: Index, after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        ingest(folder, Dying(index, after), index_documents=partial(IndexDocuments, batch_size=2))
    report = ingest(folder, index)
    assert len(index) == 3
    assert report["added"] + report["unchanged"] == 3


def test_a_run_that_died_in_a_change_leaves_no_stale_chunk(folder: Path, index: Index) -> None:
    ingest(folder, index)
    (folder / "a.md").write_text(f"# Terms a\n\nPayment a is due in sixty days.\n{LONG}")
    with pytest.raises(KeyboardInterrupt):
        ingest(folder, Dying(index, 1))  # one of its two chunks got in
    (folder / "a.md").write_text("# Terms a\n\nPayment a is due in ninety days.\n")
    ingest(folder, index)
    texts = [text for text in found(index, "payment", WRITER) if "Payment a" in text]
    assert len(texts) == 1
    assert "ninety" in texts[0]


def test_a_file_that_breaks_loses_its_old_readers(folder: Path, index: Index) -> None:
    ingest(folder, index)
    (folder / "a.md").write_bytes(b"\0\0\0binary")
    assert ingest(folder, index, readers=("g:legal",))["failed"] == 1
    assert found(index, "payment", WRITER) == set()
    assert any("Payment a" in text for text in found(index, "payment", LEGAL))


def test_of_two_documents_with_one_name_the_second_fails(index: Index, tmp_path: Path) -> None:
    class Twins:
        name = "twins"

        def items(self) -> list[Item]:
            return [Item("same", str(at), partial(Document, "same", f"Payment {at}", "t")) for at in (1, 2)]

        def skipped(self) -> list[str]:
            return []

    details = Details(tmp_path / "details.jsonl")
    report = ingest(tmp_path, index, corpus=Twins(), details=details)
    assert (report["added"], report["failed"], report["failures"][0]["kind"]) == (1, 1, "repeated")
    assert found(index, "payment", WRITER) == {"Payment 1"}
    assert [row["what"] for row in details] == ["failed", "added"]


def test_a_document_half_written_when_a_run_died_is_withdrawn_if_it_breaks(
    folder: Path, index: Index
) -> None:
    ingest(folder, index)
    (folder / "a.md").write_text(f"# Terms a\n\nPayment a is due in sixty days.\n{LONG}")
    with pytest.raises(KeyboardInterrupt):
        ingest(folder, Dying(index, 1))
    (folder / "a.md").write_bytes(b"\0\0\0binary")
    assert ingest(folder, index)["failed"] == 1
    assert not any("Payment a" in text for text in found(index, "payment", WRITER))


def test_a_parser_that_stumbles_costs_only_its_document(folder: Path, index: Index) -> None:
    class Stumbling(Folder):
        def items(self) -> Iterator[Item]:
            for item in super().items():
                yield Item(item.source, "f", partial(int, "x")) if item.source.endswith("b.md") else item  # type: ignore[arg-type]

    report = ingest(folder, index, corpus=Stumbling(folder))
    assert (report["added"], report["failed"], report["failures"][0]["kind"]) == (2, 1, "ValueError")


def test_a_report_names_the_first_failures_and_the_details_all(folder: Path, tmp_path: Path) -> None:
    for number in range(FAILURES + 20):
        (folder / f"{number}.md").write_bytes(b"\0binary")
    details = Details(tmp_path / "details.jsonl")
    report = ingest(folder, WordsIndex(tmp_path / "w.sqlite"), details=details)
    assert (report["failed"], len(report["failures"])) == (FAILURES + 20, FAILURES)
    rows = list(details)
    assert sum(row["what"] == "failed" and bool(row["reason"]) for row in rows) == FAILURES + 20
    assert details.path is not None
    assert details.path.stat().st_mode & 0o077 == 0
