"""The ingestion graph: only what changed is read, and nothing is lost."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from markgraph.build import load_graph
from markgraph.documents.types import Document
from markgraph.errors import DeniedError, UsageError
from markgraph.graphs.ingest import build
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.corpora import Folder, Item
from markgraph.ingestion.ledger import Ledger
from markgraph.ingestion.report import Details
from markgraph.ingestion.rules import rules_for_all
from markgraph.models.embed import HashEmbeddings
from markgraph.nodes.index_documents import IndexDocuments
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Chunk, Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.state import FAILURES
from tests.retrieval.index_suite import found

LONG = "\n## More\n\nThis section has nothing to do with it at all. " * 30
WRITER = Caller("wanda", ("reader", "writer"))
LEGAL = Caller("anna", ("reader",), groups=("legal",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.md").write_text(f"# Terms {name}\n\nPayment {name} is due in thirty days.\n")
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Index:
    parts = [ChromaIndex(tmp_path / "chroma", HashEmbeddings()), WordsIndex(tmp_path / "words.sqlite")]
    return HybridIndex(parts)


def ingest(
    folder: Path,
    index: Index,
    readers: tuple[str, ...] = ("public",),
    dry_run: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Ingest `folder` as WRITER and return the report."""
    options = {"rules": rules_for_all(readers), "corpus": Folder(folder), **options}
    graph = build(index=index, ledger=Ledger(folder.parent / "ledger.sqlite"), **options)
    return graph.invoke({"limit": None, "dry_run": dry_run}, context=WRITER)


def test_ingesting_twice_changes_nothing(folder: Path, index: Index) -> None:
    first = ingest(folder, index)
    assert (first["added"], first["unchanged"], len(index)) == (3, 0, 3)
    second = ingest(folder, index)
    assert (second["added"], second["changed"], second["removed"]) == (0, 0, 0)
    assert (second["unchanged"], second["chunks"], len(index)) == (3, 0, 3)


def test_reads_only_what_changed(folder: Path, index: Index) -> None:
    ingest(folder, index)
    (folder / "a.md").write_text("# Terms a\n\nPayment a is due in sixty days.\n")
    report = ingest(folder, index)
    assert (report["changed"], report["unchanged"]) == (1, 2)
    assert not any("Payment a is due in thirty" in text for text in found(index, "payment", WRITER))
    assert any("sixty" in text for text in found(index, "payment", WRITER))


def test_a_deleted_file_leaves_the_index(folder: Path, index: Index) -> None:
    ingest(folder, index)
    (folder / "b.md").unlink()
    assert ingest(folder, index)["removed"] == 1
    assert not any("Payment b" in text for text in found(index, "payment", WRITER))


def test_a_file_that_was_ingested_alone_leaves_with_its_folder(folder: Path, index: Index) -> None:
    ingest(folder, index)
    alone = folder / "b.md"
    ingest(folder, index, corpus=Folder(alone), readers=("g:legal",))
    alone.unlink()
    assert ingest(folder, index)["removed"] == 1
    assert not any("Payment b" in text for text in found(index, "payment", LEGAL))


def test_new_readers_are_stored_at_once(folder: Path, index: Index) -> None:
    ingest(folder, index)
    ingest(folder, index, readers=("g:legal",))
    assert found(index, "payment", WRITER) == set()
    assert len(found(index, "payment", LEGAL)) == 3


def test_a_broken_file_costs_only_itself(folder: Path, index: Index) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 this is no PDF")
    report = ingest(folder, index)
    assert (report["added"], report["failed"]) == (3, 1)
    (failure,) = report["failures"]
    assert (failure["source"], failure["kind"]) == (f"{folder}/broken.pdf", "DocumentError")
    assert "broken.pdf" in failure["reason"]


def test_a_file_that_breaks_later_keeps_its_last_good_version(folder: Path, index: Index) -> None:
    ingest(folder, index)
    (folder / "a.md").write_bytes(b"\0\0\0binary")
    report = ingest(folder, index)
    assert report["failed"] == 1
    assert any("Payment a" in text for text in found(index, "payment", WRITER))


class Dying:
    """An index that dies after some chunks, like a killed process."""

    def __init__(self, inner: Index, after: int) -> None:
        self.inner, self.left = inner, after

    def add(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            self.inner.add([chunk])

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


def test_the_last_file_leaves_too(folder: Path, index: Index) -> None:
    ingest(folder, index)
    for file in folder.iterdir():
        file.unlink()
    assert ingest(folder, index)["removed"] == 3
    assert len(index) == 0
    with pytest.raises(UsageError, match="Nothing to read"):
        ingest(folder, index)


def test_a_part_that_was_ingested_for_fewer_stays_theirs(folder: Path, index: Index) -> None:
    part = folder / "hr"
    part.mkdir()
    (part / "d.md").write_text("# Pay\n\nPayment d is secret.\n")
    ingest(folder, index, corpus=Folder(part), readers=("g:hr",))
    report = ingest(folder, index)
    assert (report["added"], report["skipped"], report["permitted"]) == (3, 1, 0)
    assert not any("secret" in text for text in found(index, "payment", WRITER))


def test_a_graph_is_run_again_and_again(folder: Path, index: Index) -> None:
    ledger = Ledger(folder.parent / "ledger.sqlite")
    graph = build(corpus=Folder(folder), index=index, ledger=ledger, rules=rules_for_all(["public"]))
    graph.invoke({"limit": None}, context=WRITER)
    (folder / "a.md").write_text("# Terms a\n\nPayment a is due in sixty days.\n")
    (folder / "new.md").write_text("# New\n\nPayment new is due in ten days.\n")
    second = graph.invoke({"limit": None}, context=WRITER)
    assert (second["added"], second["changed"]) == (1, 1)
    third = graph.invoke({"limit": None}, context=WRITER)
    assert (third["added"], third["changed"], third["unchanged"]) == (0, 0, 4)


def test_is_loaded_by_name_too(folder: Path, index: Index) -> None:
    ledger = Ledger(folder.parent / "ledger.sqlite")
    graph = load_graph("ingest", [f"path='{folder}'"], index=index, ledger=ledger)
    assert graph.invoke({"limit": None}, context=WRITER)["added"] == 3
    with pytest.raises(UsageError, match="path=FOLDER"):
        load_graph("ingest", index=index, ledger=ledger).invoke({"limit": None}, context=WRITER)


def test_denies_a_caller_who_may_not_write(folder: Path, index: Index) -> None:
    ledger = Ledger(folder.parent / "l.sqlite")
    graph = build(corpus=Folder(folder), index=index, ledger=ledger, rules=rules_for_all(["public"]))
    with pytest.raises(DeniedError, match="writer"):
        graph.invoke({"limit": None}, context=Caller("rita", ("reader",)))
    assert len(index) == 0


def test_one_step_takes_few_documents_and_a_corpus_any_number_of_steps(folder: Path, tmp_path: Path) -> None:
    for number in range(200):
        (folder / f"{number}.txt").write_text(f"Clause {number}.")
    words = WordsIndex(tmp_path / "w.sqlite")
    graph = build(
        corpus=Folder(folder),
        index=words,
        ledger=Ledger(tmp_path / "l.sqlite"),
        rules=rules_for_all(["public"]),
        index_documents=partial(IndexDocuments, step_size=1),
    )
    updates = graph.stream({"limit": None}, context=WRITER, stream_mode="updates")
    steps = [part["index_documents"] for part in updates if "index_documents" in part]
    assert [step["added"] for step in steps if step["added"]] == [1] * 203
    assert len(words) == 203
    assert graph.config is not None
    assert graph.config["recursion_limit"] >= 10**9


def test_reads_at_most_so_many_and_goes_on_with_the_next(folder: Path, index: Index) -> None:
    graph = build(
        corpus=Folder(folder),
        index=index,
        ledger=Ledger(folder.parent / "ledger.sqlite"),
        rules=rules_for_all(["public"]),
    )
    assert [graph.invoke({"limit": 2}, context=WRITER)["added"] for _ in range(3)] == [2, 1, 0]


def test_another_chunker_or_embedder_reads_again(folder: Path, index: Index) -> None:
    ingest(folder, index, embedder=HashEmbeddings())
    assert ingest(folder, index, embedder=HashEmbeddings())["changed"] == 0
    assert ingest(folder, index, embedder=HashEmbeddings(), chunker=Chunker(500, 50))["changed"] == 3
    assert ingest(folder, index, embedder=HashEmbeddings(64), chunker=Chunker(500, 50))["changed"] == 3


def test_a_file_that_moves_is_found_at_its_new_place_only(folder: Path, index: Index) -> None:
    ingest(folder, index)
    (folder / "a.md").rename(folder / "z.md")
    report = ingest(folder, index)
    assert (report["added"], report["removed"], report["unchanged"]) == (1, 1, 2)
    sources = {hit.chunk.source for hit in index.search("payment", WRITER, 10)}
    assert sources == {f"{folder}/{name}.md" for name in "bcz"}


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
