"""Every index passes the suite of its port over sealed documents, and the suite of those."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from markgraph.errors import SealError, StorageError
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.bm25s import Bm25sIndex
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.chroma_server import ChromaServerIndex
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.pgvector import PgVectorIndex
from markgraph.retrieval.words import WordsIndex
from markgraph.security.sealing.keyring import Keyring
from tests.retrieval.dense_suite import DenseSuite
from tests.retrieval.index_suite import ANNA, IndexSuite, chunk
from tests.retrieval.sealed_suite import SealedSuite


class _Sealed:
    """Opens what the suites ask for with a keyring."""

    seal: Keyring

    @pytest.fixture(autouse=True)
    def _keyring(self, keyring: Keyring) -> None:
        self.seal = keyring


class TestSealedWords(_Sealed, SealedSuite, IndexSuite):
    def make(self, path: Path, seal: Keyring | None) -> Any:
        return WordsIndex(path / "words.sqlite", seal=seal)

    def make_index(self, path: Path) -> Any:
        return self.make(path, self.seal)

    def test_a_body_moved_to_another_chunk_does_not_open(self, folder: Path, keyring: Keyring) -> None:
        index = self.make(folder, keyring)
        one, two = chunk("payment one"), chunk("payment two", source="b")
        index.add([one, two])
        with index._writing() as database:
            swap = "UPDATE chunks SET body = (SELECT body FROM chunks WHERE id = ?) WHERE id = ?"
            database.execute(swap, (one.id, two.id))
        with pytest.raises(SealError, match="does not open"):
            index.search("payment", ANNA, 2)

    def test_a_row_in_clear_among_sealed_ones_is_refused(self, folder: Path, keyring: Keyring) -> None:
        index = self.make(folder, keyring)
        forged = chunk("payment forged", source="b")
        index.add([chunk("payment"), forged])
        with index._writing() as database:
            database.execute("UPDATE chunks SET body = ? WHERE id = ?", (forged.to_json(), forged.id))
        with pytest.raises(SealError, match="is not sealed"):
            index.search("payment", ANNA, 2)


class TestSealedBm25s(TestSealedWords):
    def make(self, path: Path, seal: Keyring | None) -> Any:
        return Bm25sIndex(path / "words.sqlite", seal=seal, tail=2)


class TestSealedChroma(_Sealed, SealedSuite, DenseSuite):
    def make(self, path: Path, seal: Keyring | None) -> Any:
        return ChromaIndex(path / "chroma", HashEmbeddings(), seal=seal)

    def make_dense(self, path: Path, embedder: Embedder) -> Any:
        return ChromaIndex(path / "chroma", embedder, seal=self.seal)


class TestSealedHybrid(_Sealed, IndexSuite):
    def make_index(self, path: Path) -> Any:
        parts = [
            ChromaIndex(path / "chroma", HashEmbeddings(), seal=self.seal),
            WordsIndex(path / "words.sqlite", seal=self.seal),
        ]
        return HybridIndex(parts)


class TestSealedPgVector(_Sealed, SealedSuite, DenseSuite):
    @pytest.fixture(autouse=True)
    def _server(self, postgres: str) -> None:
        self.conninfo = postgres

    def make(self, path: Path, seal: Keyring | None) -> Any:
        return PgVectorIndex(HashEmbeddings(), self._name(path), self.conninfo, seal=seal)

    def make_dense(self, path: Path, embedder: Embedder) -> Any:
        return PgVectorIndex(embedder, self._name(path), self.conninfo, seal=self.seal)

    def dump(self, path: Path) -> bytes:
        with psycopg.connect(self.conninfo) as connection:
            query = f'SELECT * FROM "markgraph_{self._name(path)}".chunks'
            return str(connection.execute(query.encode()).fetchall()).encode()

    def _name(self, path: Path) -> str:
        return f"{path.parent.name}/{path.name}"[-50:]


class TestSealedChromaServer(_Sealed, SealedSuite, DenseSuite):
    @pytest.fixture(autouse=True)
    def _server(self, chroma_port: int) -> None:
        self.port = chroma_port

    def make(self, path: Path, seal: Keyring | None) -> Any:
        name = f"{path.parent.name}-{path.name}"[-40:].strip("-_.")
        return ChromaServerIndex(HashEmbeddings(), name, port=self.port, seal=seal)

    def make_dense(self, path: Path, embedder: Embedder) -> Any:
        name = f"{path.parent.name}-{path.name}"[-40:].strip("-_.")
        return ChromaServerIndex(embedder, name, port=self.port, seal=self.seal)

    def dump(self, path: Path) -> bytes:
        with self.make(path, None)._client_held() as client:
            collections = [each for each in client.list_collections() if each.count()]
            names = [each.name for each in collections if path.parent.name[-20:] in each.name]
            return str([client.get_collection(n, embedding_function=None).get() for n in names]).encode()

    def test_resealing_seals_what_lies_in_clear(self, folder: Path, keyring: Keyring) -> None:
        self.make(folder, None).add([chunk("payment")])
        with pytest.raises(StorageError, match="only the server could overwrite that"):
            self.make(folder, keyring).reseal()
        assert self.make(folder, keyring).reseal() == 0
