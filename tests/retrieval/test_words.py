"""The index over rank-bm25, and the chunk store under it."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from markgraph.errors import StorageError
from markgraph.retrieval.bm25s import Bm25sIndex
from markgraph.retrieval.chunk_store import ChunkStore
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import CACHED_VIEWS, WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from tests.retrieval.index_suite import ANNA, BEN, IndexSuite, chunk, found


class TestWordsIndex(IndexSuite):
    def make_index(self, path: Path) -> Index:
        return WordsIndex(path / "words.sqlite")

    def test_scores_do_not_depend_on_hidden_chunks(self, tmp_path: Path) -> None:
        alone, among = WordsIndex(tmp_path / "a"), WordsIndex(tmp_path / "b")
        visible = [chunk("payment is due", source="x"), chunk("cats sleep", source="y")]
        alone.add(visible)
        among.add([*visible, *(chunk("payment", "u:ben", source=str(n)) for n in range(9))])
        assert alone.search("payment", ANNA, 2) == among.search("payment", ANNA, 2)


def test_finds_a_word_of_the_title_and_of_a_heading(tmp_path: Path) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    index.add([replace(chunk("cats sleep"), title="Animals", heading=("Felines",))])
    assert found(index, "animal", ANNA) == found(index, "feline", ANNA) == {"cats sleep"}
    index.add([replace(chunk("cats sleep"), title="Beasts", heading=("Felines",))])
    assert found(index, "animal", ANNA) == set()
    assert found(index, "beast", ANNA) == {"cats sleep"}
    assert len(index) == 1


def test_keeps_finding_for_more_callers_than_views_are_kept(tmp_path: Path) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    callers = [Caller(f"user{n}", ("reader",)) for n in range(CACHED_VIEWS + 3)]
    index.add([chunk(f"payment {caller.subject}", f"u:{caller.subject}") for caller in callers])
    for caller in callers * 2:
        assert found(index, "payment", caller) == {f"payment {caller.subject}"}


@pytest.mark.parametrize("kind", [WordsIndex, Bm25sIndex])
def test_in_a_few_chunks_too_a_word_makes_none_worse(tmp_path: Path, kind: type[ChunkStore]) -> None:
    index = kind(tmp_path / "words.sqlite")
    texts = ["the supplier is liable, and again the supplier", "a supplier pays", "the supplier of cats"]
    index.add([chunk(text, source=str(n)) for n, text in enumerate(texts)])
    for question in ("supplier", "is the supplier liable"):
        best, *others = index.search(question, ANNA, 3)
        assert best.chunk.text == texts[0]
        assert all(0 < each.score <= best.score for each in others)


def test_changing_permissions_of_many_chunks_changes_all_or_none(tmp_path: Path) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    mine = [chunk(f"payment {n}", "g:legal", source=str(n)) for n in range(3)]
    foreign = chunk("payment", source="f", tenant="other")
    index.add([*mine, foreign])
    with pytest.raises(ValueError, match="belongs to tenant 'other'"):
        index.permit([each.id for each in (*mine, foreign)], Permissions("default", ("u:ben",), 0))
    assert found(index, "payment", BEN) == set()
    assert len(found(index, "payment", ANNA)) == 3


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    index.add([chunk("payment")])
    with pytest.raises(UnicodeEncodeError):
        index.add([chunk("payment again", source="b"), chunk("\ud800 is half a character", source="c")])
    assert found(index, "payment", ANNA) == {"payment"}
    assert len(index) == 1


def test_refuses_a_file_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "words.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE chunks (id TEXT PRIMARY KEY, tenant TEXT, body TEXT, words TEXT)")
    database.close()
    with pytest.raises(StorageError, match=r"layout of another version.*collection=NAME"):
        WordsIndex(path).search("payment", ANNA, 1)
