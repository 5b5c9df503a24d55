"""The embedded Chroma passes the suite, shares its files, and finds all that is permitted, however far."""

import gc
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from markgraph.errors import ConfigError
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.dense import Embedder
from markgraph.security.permissions import Permissions
from tests.retrieval.dense_suite import DenseSuite
from tests.retrieval.index_suite import ANNA, chunk, found

ROOT = Path(__file__).parents[2]
ANOTHER = """
import sys
from pathlib import Path
from tests.retrieval.test_chroma import TestChromaIndex, chunk
index = TestChromaIndex().make_index(Path(sys.argv[1]))
index.remove([chunk(f"payment {n}", source=str(n)).id for n in range(10)])
index.add([chunk("payment anew", source="new")])
"""
LEFT_IN_MEMORY = """
import sys
from pathlib import Path
from tests.retrieval.test_chroma import ChromaIndex, HashEmbeddings, chunk
text = "the customer shall pay each invoice within thirty days of receipt. "
embedder = HashEmbeddings(dimensions=16)
index = ChromaIndex(Path(sys.argv[1]) / "read", embedder)
index.add([chunk(text * (n % 60 + 1), source=str(n)) for n in range(300)])
for n in range(8):
    assert len(index.scan()) > 0
    new = ChromaIndex(Path(sys.argv[1]) / f"new{n}", embedder)
    new.add([chunk("another thing")])
"""


class TestChromaIndex(DenseSuite):
    def make_dense(self, path: Path, embedder: Embedder, neighbours: int = 4000) -> ChromaIndex:
        return ChromaIndex(path / "chroma", embedder, neighbours=neighbours)

    def test_goes_on_after_another_process_has_written(self, tmp_path: Path) -> None:
        index = self.make_index(tmp_path)
        index.add([chunk(f"payment {n}", source=str(n)) for n in range(20)])
        assert len(found(index, "payment", ANNA, k=50)) == 20
        subprocess.run([sys.executable, "-c", ANOTHER, str(tmp_path)], check=True, cwd=ROOT)
        assert len(found(index, "payment", ANNA, k=50)) == 11


class TestChromaIndexThatListsWhatIsPermitted(TestChromaIndex):
    def make_dense(self, path: Path, embedder: Embedder, neighbours: int = 0) -> ChromaIndex:
        return super().make_dense(path, embedder, neighbours)


def test_wants_an_embedder_with_a_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DeterministicFakeEmbedding, which lacks `name`"):
        ChromaIndex(tmp_path, DeterministicFakeEmbedding(size=8))  # type: ignore[arg-type]


def test_reading_makes_no_files(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path / "chroma", HashEmbeddings())
    assert index.search("payment", ANNA, 5) == index.scan() == index.get(["a"], ANNA) == []
    index.remove(["a"])
    assert len(index) == 0
    assert list(tmp_path.iterdir()) == []


def test_does_not_open_chroma_anew_after_its_own_writes(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path / "chroma", HashEmbeddings())
    index.add([chunk("payment")])
    opened = index._opened
    index.add([chunk("payment again", source="b")])
    assert found(index, "payment", ANNA) == {"payment", "payment again"}
    assert index._opened is opened


def test_two_that_only_search_do_not_make_each_other_open_chroma_anew(tmp_path: Path) -> None:
    one, other = (ChromaIndex(tmp_path / "chroma", HashEmbeddings()) for _ in range(2))
    one.add([chunk("payment")])
    opened = one._opened
    for index in (other, one, other):
        assert found(index, "payment", ANNA) == {"payment"}
    assert one._opened is opened


def test_files_of_vectors_hold_no_texts_that_were_in_memory(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LEFT_IN_MEMORY, str(tmp_path)], check=True, cwd=ROOT)
    files = list(tmp_path.rglob("*.bin"))
    assert len(files) >= 9
    assert [file for file in files if b"each invoice" in file.read_bytes()] == []


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what Linux lists")
def test_what_was_opened_before_is_closed(tmp_path: Path) -> None:
    one, other = (ChromaIndex(tmp_path / "chroma", HashEmbeddings()) for _ in range(2))
    one.add([chunk("payment")])
    assert found(other, "payment", ANNA) == {"payment"}
    before = open_files()
    for n in range(8):
        one.add([chunk(f"payment {n}", source=str(n))])
        assert len(found(other, "payment", ANNA, k=50)) == n + 2
        assert one.generations() == {"": "hash-256"}
    assert open_files() <= before + 2
    del one, other
    assert open_files() < before


def test_what_is_held_for_callers_who_ask_again_gives_the_same_and_ends_with_a_write(tmp_path: Path) -> None:
    held, fresh = (ChromaIndex(tmp_path / "chroma", HashEmbeddings(), held=held) for held in (100, 0))
    chunks = [chunk(f"payment {n} {'x' * n}", "g:legal", source=str(n)) for n in range(12)]
    held.add([*chunks, chunk("payment of ben", "u:ben", source="b")])
    for _ in range(3):
        hits, expected = (index.search("payment 3", ANNA, 5) for index in (held, fresh))
        assert hits[0].chunk == expected[0].chunk
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)
    assert len(held.search("payment", ANNA, 50)) == 12
    fresh.permit([chunks[0].id], Permissions(readers=("u:ben",)))  # another handle, as another process would
    assert len(held.search("payment", ANNA, 50)) == 11
    fresh.add([chunk("payment anew", "g:legal", source="new")])
    for _ in range(3):
        assert len(held.search("payment", ANNA, 50)) == 12


def test_more_than_may_be_held_is_found_as_well(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path / "chroma", HashEmbeddings(), held=3)
    index.add([chunk(f"payment {n}", source=str(n)) for n in range(8)])
    for _ in range(3):
        assert len(index.search("payment", ANNA, 50)) == 8


class Scattered(HashEmbeddings):
    """Gives each text a vector of its own, by chance: those of equal texts are equal."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text.rsplit("\n", 1)[-1]) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(64).tolist()


def test_the_first_question_over_a_small_collection_is_answered_as_exactly_as_the_next(
    tmp_path: Path,
) -> None:
    index = ChromaIndex(tmp_path / "chroma", Scattered(dimensions=64))
    index.add([chunk(f"text {n}", source=str(n)) for n in range(1500)])
    everything = index.search("text 7", ANNA, 1500)
    for k in (10, 100):
        fresh = ChromaIndex(tmp_path / "chroma", Scattered(dimensions=64))
        assert fresh.search("text 7", ANNA, k) == index.search("text 7", ANNA, k) == everything[:k]


def test_a_thousand_copies_of_one_text_do_not_hide_the_others(tmp_path: Path) -> None:
    index = ChromaIndex(tmp_path / "chroma", Scattered(dimensions=64), held=0)
    others = [chunk(f"other {n}", source=f"other{n}") for n in range(20)]
    copies = [chunk("the same", source=f"copy{n}") for n in range(1200)]
    index.add([*others[:10], *copies, *others[10:]])
    for other in others:
        assert index.search(other.text, ANNA, 3)[0].chunk == other
