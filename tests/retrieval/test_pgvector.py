"""Postgres with pgvector passes the suite, and keeps its password to itself."""

import logging
import re
from pathlib import Path

import pytest

from markgraph.errors import ConfigError, StorageError
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.pgvector import PgVectorIndex
from tests.retrieval.dense_suite import DenseSuite
from tests.retrieval.index_suite import ANNA, chunk, found


class TestPgVectorIndex(DenseSuite):
    @pytest.fixture(autouse=True)
    def _server(self, postgres: str) -> None:
        self.conninfo = postgres

    def make_dense(self, path: Path, embedder: Embedder) -> PgVectorIndex:
        return PgVectorIndex(embedder, f"{path.parent.name}/{path.name}"[-50:], self.conninfo)

    def test_stores_what_postgres_has_no_letters_for(self, tmp_path: Path) -> None:
        index = self.make_index(tmp_path)
        odd = chunk("payment \0 and half a pair")
        index.add([odd])
        assert index.get([odd.id], ANNA) == [odd]

    def test_a_collections_name_is_a_name_whatever_it_holds(self) -> None:
        names = ['a"; DROP SCHEMA public CASCADE; --', "a.b", "ünïcode", "a {chunks}"]
        for name in names:
            PgVectorIndex(HashEmbeddings(), name, self.conninfo).add([chunk(f"payment {name}")])
        for name in names:
            index = PgVectorIndex(HashEmbeddings(), name, self.conninfo)
            assert found(index, "payment", ANNA) == {f"payment {name}"}

    def test_vectors_too_long_for_a_graph_are_compared_one_by_one(self, tmp_path: Path) -> None:
        index = self.make_dense(tmp_path, HashEmbeddings(dimensions=2500))
        index.add([chunk("payment"), chunk("cats", source="b")])
        assert [hit.chunk.text for hit in index.search("payment", ANNA, 1)] == ["payment"]


@pytest.mark.parametrize("name", ["c" * 60, "a%(k)s", "a\0"])
def test_refuses_what_is_no_name_for_postgres(name: str) -> None:
    with pytest.raises(ConfigError, match="at most 63 bytes"):
        PgVectorIndex(HashEmbeddings(), name)


@pytest.mark.parametrize(
    ("conninfo", "error"),
    [
        ("postgresql://mark:SECRET@127.0.0.1:1/db", StorageError),
        ("host=127.0.0.1 port=1 user=mark password=SECRET", StorageError),
        ("postgresql://mark:SECRET@127.0.0.1:1/db?nonsense=1", ConfigError),
        ("password=SECRET and more", ConfigError),
    ],
)
def test_never_shows_the_password(
    conninfo: str, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    index = PgVectorIndex(HashEmbeddings(), conninfo=conninfo)
    with caplog.at_level(logging.DEBUG), pytest.raises(error) as caught:
        index.search("payment", ANNA, 1)
    assert (
        "SECRET" not in f"{caught.value} {caught.value.__cause__} {index!r} {index._postgres!r} {caplog.text}"
    )
    assert not re.search(r"[.?]\.", str(caught.value))
