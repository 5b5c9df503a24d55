"""Every index passes the suite of its port."""

from pathlib import Path

from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex
from tests.retrieval.index_suite import IndexSuite


class TestHybridIndex(IndexSuite):
    def make_index(self, path: Path) -> Index:
        return HybridIndex(
            [ChromaIndex(path / "chroma", HashEmbeddings()), WordsIndex(path / "words.sqlite")]
        )
