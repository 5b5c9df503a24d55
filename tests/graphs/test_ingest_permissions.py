"""Permissions at ingestion: they come from rules, and change without a document being read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from markgraph.documents.types import Document
from markgraph.ingestion.corpora import Folder, Item
from markgraph.ingestion.ledger import Ledger
from markgraph.ingestion.report import Details
from markgraph.ingestion.rules import Rules
from markgraph.retrieval.types import Chunk, Index, Vectors
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from tests.graphs.ingesting import PARSER, build
from tests.retrieval.index_suite import found

WRITER = Caller("wanda", ("reader", "writer"))
HR = Caller("henry", ("reader",), groups=("hr",))
CLEARED = Caller("henry", ("reader",), groups=("hr",), clearance=3)
ALL_PUBLIC = {"default": {"readers": ["public"]}}
HR_IS_CLOSED = {"rules": [{"path": "hr/**", "readers": ["g:hr"]}], "default": {"readers": ["public"]}}


class Counted(Folder):
    """A folder whose documents name their folder in their metadata; it counts how often they are loaded."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, PARSER)
        self.loads = 0

    def items(self) -> Iterator[Item]:
        return (
            Item(each.source, each.fingerprint, lambda each=each: self._load(each), each.path)
            for each in super().items()
        )

    def _load(self, item: Item) -> Document:
        self.loads += 1
        document = item.load()
        assert item.path is not None
        document.metadata["folder"] = item.path.parent.name
        return document


class Log:
    """An index that notes the order of what is done to it, and dies where it is told to."""

    embedder = None

    def __init__(self, inner: Index) -> None:
        self.inner, self.done, self.dies = inner, [], False

    @property
    def stores(self) -> tuple[str, ...]:
        return self.inner.stores

    def add(self, chunks: list[Chunk], vectors: Vectors | None = None) -> None:
        self.done += [("add", chunk.source) for chunk in chunks]
        self.inner.add(chunks, vectors)

    def remove(self, ids: list[str]) -> None:
        self.done += [("remove", id_) for id_ in ids]
        self.inner.remove(ids)

    def permit(self, ids: list[str], permissions: Permissions) -> None:
        self.inner.permit(ids, permissions)
        self.done += [("permit", permissions.readers) for _ in ids]
        if self.dies:
            raise KeyboardInterrupt

    def search(self, query: str, caller: Caller, k: int) -> Any:
        return self.inner.search(query, caller, k)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    for name in ("a", "hr/b", "hr/c", "legal/d"):
        (folder / f"{name}.md").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(f"# Terms\n\nPayment {name} is due.\n")
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Log:
    return Log(WordsIndex(tmp_path / "words.sqlite"))


@pytest.fixture
def corpus(folder: Path) -> Counted:
    return Counted(folder)


def ingest(
    corpus: Folder, index: Any, rules: dict[str, Any], dry_run: bool = False, details: Path | None = None
) -> dict[str, Any]:
    ledger = Ledger(Path(corpus.name).parent / "ledger.sqlite")
    graph = build(
        corpus=corpus,
        index=index,
        ledger=ledger,
        rules=Rules.model_validate(rules),
        details=Details(details),
    )
    return graph.invoke({"limit": None, "dry_run": dry_run}, context=WRITER)


def names(index: Any, caller: Caller) -> set[str]:
    """Return the names in what `caller` finds."""
    return {text.split()[-3] for text in found(index, "payment", caller)}


def test_documents_get_the_permissions_of_the_first_rule_that_matches(corpus: Counted, index: Log) -> None:
    report = ingest(
        corpus,
        index,
        {
            "rules": [
                {"path": "hr/b.md", "readers": ["u:wanda"]},
                {"path": "hr/**", "readers": ["g:hr"], "classification": "restricted"},
                {"path": "*.md", "readers": ["public"]},
            ]
        },
    )
    assert (report["added"], report["unreadable"]) == (4, 1)
    assert names(index, WRITER) == {"a", "hr/b"}
    assert names(index, HR) == {"a"}
    assert names(index, CLEARED) == {"a", "hr/c"}
    elsewhere = Caller("wanda", ("reader",), tenant="other", groups=("hr",), clearance=3)
    assert names(index, elsewhere) == set()


def test_a_changed_rule_holds_from_the_next_search_on_and_no_document_is_read(
    corpus: Counted, index: Log
) -> None:
    ingest(corpus, index, ALL_PUBLIC)
    assert names(index, WRITER) == {"a", "hr/b", "hr/c", "legal/d"}
    loads, index.done = corpus.loads, []
    report = ingest(corpus, index, HR_IS_CLOSED)
    assert (report["permitted"], report["changed"], report["unchanged"], report["chunks"]) == (2, 0, 4, 0)
    assert corpus.loads == loads
    assert {what for what, _ in index.done} == {"permit"}
    assert names(index, WRITER) == {"a", "legal/d"}
    assert names(index, HR) == {"a", "hr/b", "hr/c", "legal/d"}
    assert ingest(corpus, index, HR_IS_CLOSED)["permitted"] == 0


def test_what_is_taken_away_goes_before_everything_else(corpus: Counted, folder: Path, index: Log) -> None:
    ingest(corpus, index, {"rules": [{"path": "*.md", "readers": ["g:hr"]}], **ALL_PUBLIC})
    (folder / "new.md").write_text("# New\n\nPayment new is due.\n")
    (folder / "legal" / "d.md").unlink()
    index.done = []
    ingest(corpus, index, HR_IS_CLOSED)
    order = [what if what != "permit" else readers for what, readers in index.done]
    assert order == [("g:hr",), ("g:hr",), ("public",), "add", "remove"]


def test_a_rule_about_metadata_is_applied_to_what_was_read_before(corpus: Counted, index: Log) -> None:
    ingest(corpus, index, ALL_PUBLIC)
    loads = corpus.loads
    rules = {"rules": [{"where": {"folder": ["hr", "legal"]}, "readers": ["g:hr"]}], **ALL_PUBLIC}
    assert ingest(corpus, index, rules)["permitted"] == 3
    assert corpus.loads == loads
    assert names(index, WRITER) == {"a"}


def test_a_run_that_dies_while_it_permits_is_made_up_for(corpus: Counted, index: Log) -> None:
    ingest(corpus, index, HR_IS_CLOSED)
    index.dies = True
    with pytest.raises(KeyboardInterrupt):
        ingest(corpus, index, ALL_PUBLIC)
    assert names(index, WRITER) == {"a", "hr/b", "hr/c", "legal/d"}
    index.dies = False
    report = ingest(corpus, index, HR_IS_CLOSED)  # the rules of before: only what was noted first tells
    assert report["permitted"] == 2
    assert names(index, WRITER) == {"a", "legal/d"}


def test_a_document_that_no_rule_opens_any_more_is_nobodys(corpus: Counted, index: Log) -> None:
    ingest(corpus, index, ALL_PUBLIC)
    report = ingest(corpus, index, {"rules": []})
    assert (report["permitted"], report["unreadable"]) == (4, 4)
    assert names(index, WRITER) == names(index, CLEARED) == set()


def test_a_part_that_was_ingested_by_itself_keeps_its_permissions(
    corpus: Counted, folder: Path, index: Log
) -> None:
    ingest(Folder(folder, PARSER), index, ALL_PUBLIC)
    ledger = Ledger(folder.parent / "ledger.sqlite")
    rules = Rules.model_validate({"default": {"readers": ["g:hr"]}})
    part = build(corpus=Folder(folder / "hr", PARSER), index=index, ledger=ledger, rules=rules)
    report: Any = part.invoke({"limit": None}, context=WRITER)
    assert (report["permitted"], report["unchanged"]) == (2, 2)
    assert names(index, WRITER) == {"a", "legal/d"}
    assert ingest(Folder(folder, PARSER), index, ALL_PUBLIC)["permitted"] == 0
    assert names(index, WRITER) == {"a", "legal/d"}


def test_a_dry_run_says_who_would_read_what_and_changes_nothing(
    corpus: Counted, folder: Path, index: Log, tmp_path: Path
) -> None:
    ingest(corpus, index, ALL_PUBLIC)
    (folder / "a.md").write_text("# Terms\n\nPayment a was due long ago.\n")
    (folder / "hr" / "new.md").write_text("# New\n\nPayment new is due.\n")
    (folder / "legal" / "d.md").unlink()
    (folder / "x.zip").touch()
    loads, index.done = corpus.loads, []
    would = ingest(corpus, index, HR_IS_CLOSED, dry_run=True, details=tmp_path / "would.jsonl")
    assert (corpus.loads, index.done) == (loads, [])
    rows = {
        Path(row["source"]).relative_to(folder).as_posix(): row
        for row in Details(tmp_path / "would.dry_run.jsonl")
    }
    assert {name: (row["what"], row.get("readers")) for name, row in rows.items()} == {
        "a.md": ("changed", ["public"]),
        "hr/b.md": ("permitted", ["g:hr"]),
        "hr/c.md": ("permitted", ["g:hr"]),
        "hr/new.md": ("added", ["g:hr"]),
        "legal/d.md": ("removed", None),
        "x.zip": ("skipped", None),
    }
    did = ingest(corpus, index, HR_IS_CLOSED)
    counts = ("added", "changed", "removed", "permitted", "failed", "unchanged", "skipped", "unreadable")
    assert {name: would[name] for name in counts} == {name: did[name] for name in counts}


def test_a_dry_run_reads_what_the_rules_ask_about(corpus: Counted, index: Log, tmp_path: Path) -> None:
    rules = {"rules": [{"where": {"folder": "hr"}, "readers": ["g:hr"]}]}
    would = ingest(corpus, index, rules, dry_run=True, details=tmp_path / "would.jsonl")
    assert (would["added"], would["unreadable"], corpus.loads, index.done) == (4, 2, 4, [])
    readers = [row["readers"] for row in Details(tmp_path / "would.dry_run.jsonl")]
    assert readers == [[], ["g:hr"], ["g:hr"], []]
