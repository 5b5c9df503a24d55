"""A part of a corpus that is ingested by itself: narrowing reaches it, and nothing opens it by the way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from markgraph.errors import UsageError
from markgraph.ingestion.corpora import Folder, Item
from markgraph.ingestion.ledger import Ledger
from markgraph.ingestion.plan import TABLES
from markgraph.ingestion.rules import rules_for_all
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from tests.graphs.ingesting import WRITER, build, ingest
from tests.retrieval.index_suite import found

HR = Caller("henry", ("reader",), groups=("hr",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    for name in ("a", "b"):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.md").write_text(f"# Terms\n\nPayment {name} is due.\n")
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return WordsIndex(tmp_path / "words.sqlite")


def names(index: Any, caller: Caller) -> set[str]:
    return {text.split()[-3] for text in found(index, "payment", caller)}


def ingest_a(folder: Path, index: Index, *readers: Any, **options: Any) -> dict[str, Any]:
    """Ingest `a.md` by itself."""
    return ingest(folder, index, *readers, corpus=Folder(folder / "a.md"), **options)


def test_one_file_of_a_folder_is_narrowed_at_once(folder: Path, index: Index) -> None:
    ingest(folder, index)
    assert ingest_a(folder, index, ("g:hr",))["permitted"] == 1
    assert (names(index, WRITER), names(index, HR)) == ({"b"}, {"a", "b"})


def test_one_file_of_a_folder_is_classified_at_once(folder: Path, index: Index) -> None:
    ingest(folder, index)
    report = ingest_a(folder, index, rules=rules_for_all(["public"], "restricted"))
    assert (report["permitted"], names(index, WRITER)) == (1, {"b"})


def test_a_part_that_was_read_again_for_the_same_readers_is_narrowed_with_the_whole(
    folder: Path, index: Index
) -> None:
    ingest(folder, index)
    (folder / "a.md").write_text("# Terms\n\nPayment a is due.\n\nLater.\n")
    assert ingest_a(folder, index)["changed"] == 1
    report = ingest(folder, index, ("g:hr",))
    assert (report["permitted"], report["skipped"], names(index, WRITER)) == (2, 0, set())


def test_a_part_for_others_is_narrowed_but_never_opened_with_the_whole(folder: Path, index: Index) -> None:
    ingest(folder, index, ("g:staff",))
    ingest_a(folder, index, ("g:hr", "u:wanda"))
    assert ingest(folder, index, ("g:staff",))["skipped"] == 1
    assert (names(index, HR), names(index, WRITER)) == ({"a"}, {"a"})
    assert ingest(folder, index, ("u:wanda",))["permitted"] == 2
    assert names(index, HR) == set()
    assert ingest(folder, index)["skipped"] == 1
    assert (names(index, HR), names(index, WRITER)) == ({"b"}, {"a", "b"})


class DiesAfterNothing(WordsIndex):
    """Dies before anything is narrowed."""

    def permit(self, ids: Any, permissions: Permissions) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("readers", ["public", "g:hr", "u:ada"])
def test_a_part_whose_own_narrowing_died_is_closed_until_that_is_run_again(
    folder: Path, index: Index, tmp_path: Path, readers: str
) -> None:
    ingest(folder, index)
    with pytest.raises(KeyboardInterrupt):
        ingest_a(folder, DiesAfterNothing(tmp_path / "words.sqlite"), ("g:hr",))
    assert names(index, WRITER) == {"a", "b"}
    ingest(folder, index, (readers,))
    assert "a" not in names(index, WRITER) | names(index, HR)
    ingest_a(folder, index, ("g:hr",))
    assert "a" in names(index, HR)
    assert "a" not in names(index, WRITER)


class Failing(Folder):
    """A folder that can't be listed to its end."""

    def items(self) -> Iterator[Item]:
        yield from super().items()
        raise UsageError("Cannot list the rest.")


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_run_that_fails_leaves_nothing_of_its_plan(folder: Path, index: Index, dry_run: bool) -> None:
    ledger = Ledger(folder.parent / "ledger.sqlite")
    graph = build(corpus=Failing(folder), index=index, ledger=ledger, rules=rules_for_all(["public"]))
    with pytest.raises(UsageError):
        graph.invoke({"limit": None, "dry_run": dry_run}, context=WRITER)
    with ledger.transaction() as database:
        counts = [database.execute(f"SELECT count(*) FROM {each}").fetchone() for each in TABLES]
    assert counts == [(0,)] * 3
