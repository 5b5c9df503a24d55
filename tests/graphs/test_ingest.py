"""The ingestion graph: only what changed is read, and nothing is lost."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from markgraph.build import load_graph
from markgraph.errors import DeniedError, UsageError
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.corpora import Folder, Item
from markgraph.ingestion.ledger import Ledger
from markgraph.ingestion.rules import rules_for_all
from markgraph.models.embed import HashEmbeddings
from markgraph.nodes.index_documents import IndexDocuments
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from tests.graphs.ingesting import LEGAL, PARSER, WRITER, build, ingest
from tests.retrieval.index_suite import found


@pytest.fixture
def index(tmp_path: Path) -> Index:
    parts = [ChromaIndex(tmp_path / "chroma", HashEmbeddings()), WordsIndex(tmp_path / "words.sqlite")]
    return HybridIndex(parts)


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
    ingest(folder, index, corpus=Folder(alone, PARSER), readers=("g:legal",))
    alone.unlink()
    assert ingest(folder, index)["removed"] == 1
    assert not any("Payment b" in text for text in found(index, "payment", LEGAL))


def test_new_readers_are_stored_at_once(folder: Path, index: Index) -> None:
    ingest(folder, index)
    ingest(folder, index, readers=("g:legal",))
    assert found(index, "payment", WRITER) == set()
    assert len(found(index, "payment", LEGAL)) == 3


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
    ingest(folder, index, corpus=Folder(part, PARSER), readers=("g:hr",))
    report = ingest(folder, index)
    assert (report["added"], report["skipped"], report["permitted"]) == (3, 1, 0)
    assert not any("secret" in text for text in found(index, "payment", WRITER))


def test_a_graph_is_run_again_and_again(folder: Path, index: Index) -> None:
    ledger = Ledger(folder.parent / "ledger.sqlite")
    graph = build(corpus=Folder(folder, PARSER), index=index, ledger=ledger, rules=rules_for_all(["public"]))
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
    graph = build(corpus=Folder(folder, PARSER), index=index, ledger=ledger, rules=rules_for_all(["public"]))
    with pytest.raises(DeniedError, match="writer"):
        graph.invoke({"limit": None}, context=Caller("rita", ("reader",)))
    assert len(index) == 0


def test_one_step_takes_few_documents_and_a_corpus_any_number_of_steps(folder: Path, tmp_path: Path) -> None:
    for number in range(200):
        (folder / f"{number}.txt").write_text(f"Clause {number}.")
    words = WordsIndex(tmp_path / "w.sqlite")
    graph = build(
        corpus=Folder(folder, PARSER),
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
        corpus=Folder(folder, PARSER),
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


def test_another_setting_of_a_parser_reads_again_what_it_concerns(folder: Path, index: Index) -> None:
    class Parsed(Folder):
        def __init__(self, path: Path, languages: str) -> None:
            super().__init__(path)
            self.languages = languages

        def items(self) -> Iterator[Item]:
            for item in super().items():
                yield replace(item, settings=self.languages if item.source.endswith("a.md") else "")

    ingest(folder, index, corpus=Parsed(folder, "eng"))
    assert ingest(folder, index, corpus=Parsed(folder, "eng"))["changed"] == 0
    assert ingest(folder, index, corpus=Parsed(folder, "deu"))["changed"] == 1


def test_a_file_that_moves_is_found_at_its_new_place_only(folder: Path, index: Index) -> None:
    ingest(folder, index)
    (folder / "a.md").rename(folder / "z.md")
    report = ingest(folder, index)
    assert (report["added"], report["removed"], report["unchanged"]) == (1, 1, 2)
    sources = {hit.chunk.source for hit in index.search("payment", WRITER, 10)}
    assert sources == {f"{folder}/{name}.md" for name in "bcz"}
