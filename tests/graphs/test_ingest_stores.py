"""A ledger describes the stores it was written for, and no others."""

from pathlib import Path

import pytest

from markgraph.citations.index import CitedIndex
from markgraph.errors import StorageError
from markgraph.ingestion.ledger import Ledger
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.bm25s import Bm25sIndex
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.fusion import ReciprocalRank
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex
from tests.graphs.ingesting import ingest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.md").write_text("# Terms\n\nPayment is due.\n")
    return tmp_path / "documents"


@pytest.fixture
def words(tmp_path: Path) -> WordsIndex:
    return WordsIndex(tmp_path / "words.sqlite")


@pytest.fixture
def hybrid(tmp_path: Path, words: WordsIndex) -> Index:
    return HybridIndex([ChromaIndex(tmp_path / "chroma", HashEmbeddings()), words])


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_part_of_an_index_is_not_narrowed_alone(
    folder: Path, words: Index, tmp_path: Path, dry_run: bool
) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ingest(folder, words)
    ledger.describe(words.stores)
    other = WordsIndex(tmp_path / "other.sqlite")
    for index in (other, HybridIndex([words, other])):
        with pytest.raises(StorageError, match=r"ingested into words:words\.sqlite; .*index=words\)"):
            ingest(folder, index, ("g:hr",), dry_run)
    assert ingest(folder, words, ("g:hr",))["permitted"] == 1


def test_indexes_over_the_same_stores_take_turns(hybrid: Index, words: WordsIndex, tmp_path: Path) -> None:
    chroma = ChromaIndex(tmp_path / "chroma", HashEmbeddings(64))
    large = HybridIndex([Bm25sIndex(tmp_path / "words.sqlite"), chroma], fusion=ReciprocalRank())
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.describe(hybrid.stores)
    ledger.describe(large.stores)
    assert words.stores == Bm25sIndex(words.path).stores != hybrid.stores
    assert CitedIndex(hybrid, None).stores == hybrid.stores  # type: ignore[arg-type]


def test_an_error_names_the_index_of_a_hybrid_collection(
    folder: Path, hybrid: Index, words: Index, tmp_path: Path
) -> None:
    ingest(folder, words)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with ledger.transaction() as database:
        database.execute("INSERT INTO stores VALUES ('dense:chroma')")
    ledger.check(hybrid.stores)
    with pytest.raises(StorageError, match=r"dense:chroma, words:words\.sqlite; .*index=hybrid\)"):
        ingest(folder, words, ("g:hr",))
