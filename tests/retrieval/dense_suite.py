"""What every index by meaning must do, beyond what every index must."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from markgraph.errors import StorageError
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.types import Index, Vectors
from tests.retrieval.index_suite import ANNA, BEN, IndexSuite, chunk, found


class DenseSuite(IndexSuite):
    """Subclass it and give `make_dense`."""

    def make_dense(self, path: Path, embedder: Embedder) -> Index:
        """Return the index under test, opened on `path` with `embedder`."""
        raise NotImplementedError  # abstract

    def make_index(self, path: Path) -> Index:
        return self.make_dense(path, HashEmbeddings())

    def test_refuses_vectors_of_another_embedder(self, tmp_path: Path) -> None:
        self.make_index(tmp_path).add([chunk("payment")])
        other = self.make_dense(tmp_path, HashEmbeddings(dimensions=64))
        for ask in (lambda: other.search("payment", ANNA, 1), lambda: other.add([chunk("more")])):
            with pytest.raises(StorageError, match=r"built with embedder 'hash-256'.*asks for 'hash-64'"):
                ask()
        assert found(self.make_index(tmp_path), "payment", ANNA) == {"payment"}

    def test_uses_the_vectors_of_its_own_embedder_and_computes_what_they_lack(self, index: Index) -> None:
        first, second = chunk("alpha"), chunk("beta", source="b")
        assert index.embedder is not None
        swapped = {first.id: HashEmbeddings().embed_query("beta")}
        index.add([first, second], Vectors(index.embedder.name, swapped))
        scores = {hit.chunk.text: hit.score for hit in index.search("beta", ANNA, 2)}
        assert scores["alpha"] == pytest.approx(1, abs=1e-5)
        assert 0 < scores["beta"] < 0.99
        index.add([first], Vectors("another", swapped))
        assert {hit.chunk.text: hit.score for hit in index.search("alpha", ANNA, 2)}["alpha"] > 0.5

    def test_the_score_is_the_cosine(self, index: Index) -> None:
        index.add([chunk("alpha beta"), chunk("alpha alpha gamma", source="b")])
        hits = index.search("alpha", ANNA, 5)
        embedder = HashEmbeddings()
        for hit in hits:
            expected = np.dot(
                embedder.embed_query("alpha"), embedder.embed_query(f"{hit.chunk.title}\n{hit.chunk.text}")
            )
            assert hit.score == pytest.approx(expected, abs=1e-5)

    def test_finds_the_few_that_are_permitted_behind_many_that_are_nearer(self, index: Index) -> None:
        index.add([chunk("payment", "g:board", source=f"payment-{n}") for n in range(1500)])
        far = [chunk(f"entirely other text {n}", "u:ben", source=f"far{n}") for n in range(3)]
        index.add(far)
        for k in (3, 10) * 6:  # a database may plan otherwise after some time
            assert found(index, "payment", BEN, k=k) == {each.text for each in far}

    def test_finds_all_that_is_permitted_when_asked_for_more(self, index: Index) -> None:
        index.add([chunk(f"payment {n}", source=str(n)) for n in range(1200)])
        assert len(index.search("payment", ANNA, 1500)) == 1200

    def test_forgets_the_page_of_a_chunk_that_has_none_now(self, index: Index) -> None:
        paged = replace(chunk("payment"), page=3, metadata={"regulation": "GDPR"})
        index.add([paged])
        index.add([chunk("payment")])
        assert index.get([paged.id], ANNA) == [chunk("payment")]
