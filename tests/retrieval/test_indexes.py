"""Every index passes the suite of its port."""

from pathlib import Path

from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex
from tests.retrieval.index_suite import ANNA, IndexSuite, chunk


class TestWordsIndex(IndexSuite):
    def make_index(self, path: Path) -> Index:
        return WordsIndex(path / "words.sqlite")

    def test_scores_do_not_depend_on_hidden_chunks(self, tmp_path: Path) -> None:
        alone, among = WordsIndex(tmp_path / "a"), WordsIndex(tmp_path / "b")
        visible = [chunk("payment is due", source="x"), chunk("cats sleep", source="y")]
        alone.add(visible)
        among.add([*visible, *(chunk("payment", "u:ben", source=str(n)) for n in range(9))])
        assert alone.search("payment", ANNA, 2) == among.search("payment", ANNA, 2)


class TestHybridIndex(IndexSuite):
    def make_index(self, path: Path) -> Index:
        return HybridIndex(
            [ChromaIndex(path / "chroma", HashEmbeddings()), WordsIndex(path / "words.sqlite")]
        )
