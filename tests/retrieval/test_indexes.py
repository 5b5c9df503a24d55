"""Every index passes the suite of its port."""

import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.embeddings import DeterministicFakeEmbedding

from markgraph.errors import ConfigError, StorageError
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Chunk, Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from tests.retrieval.index_suite import ANNA, IndexSuite, chunk, found

ANOTHER = """
import sys
from pathlib import Path
from tests.retrieval.test_indexes import TestChromaIndex, chunk
index = TestChromaIndex().make_index(Path(sys.argv[1]))
index.remove([chunk(f"payment {n}", source=str(n)).id for n in range(10)])
index.add([chunk("payment anew", source="new")])
"""


class TestChromaIndex(IndexSuite):
    def make_index(self, path: Path) -> Index:
        return ChromaIndex(path / "chroma", HashEmbeddings())

    def test_refuses_vectors_of_another_embedder(self, tmp_path: Path) -> None:
        self.make_index(tmp_path).add([chunk("payment")])
        other = ChromaIndex(tmp_path / "chroma", HashEmbeddings(dimensions=64))
        with pytest.raises(StorageError, match=r"built with embedder 'hash-256'.*asks for 'hash-64'"):
            other.search("payment", ANNA, 1)

    def test_wants_an_embedder_with_a_name(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="DeterministicFakeEmbedding, which lacks `name`"):
            ChromaIndex(tmp_path, DeterministicFakeEmbedding(size=8))  # type: ignore[arg-type]

    def test_goes_on_after_another_process_has_written(self, tmp_path: Path) -> None:
        index = self.make_index(tmp_path)
        index.add([chunk(f"payment {n}", source=str(n)) for n in range(20)])
        assert len(found(index, "payment", ANNA, k=50)) == 20
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "-c", ANOTHER, str(tmp_path)], check=True, cwd=root)
        assert len(found(index, "payment", ANNA, k=50)) == 11


class TestHybridIndex(IndexSuite):
    def make_index(self, path: Path) -> Index:
        return HybridIndex(
            [ChromaIndex(path / "chroma", HashEmbeddings()), WordsIndex(path / "words.sqlite")]
        )


ATOMS = ["public", "u:anna", "u:ben", "g:legal", "g:sales"]
CALLERS = st.builds(
    Caller,
    st.sampled_from(["anna", "ben", "eve"]),
    tenant=st.sampled_from(["default", "other"]),
    groups=st.lists(st.sampled_from(["legal", "sales"]), unique=True).map(tuple),
)
CHUNKS = st.lists(
    st.builds(
        lambda word, source, tenant, readers: Chunk(
            f"payment {word}", source, source, 0, 8 + len(word), tenant=tenant, readers=tuple(readers)
        ),
        st.text(string.ascii_lowercase, min_size=3, max_size=6),
        st.sampled_from("abcdef"),
        st.sampled_from(["default", "other"]),
        st.lists(st.sampled_from(ATOMS), max_size=3, unique=True),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=CHUNKS, callers=st.lists(CALLERS, min_size=1, max_size=3))
def test_shows_exactly_what_a_brute_force_oracle_permits(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[Chunk], callers: list[Caller]
) -> None:
    path = tmp_path_factory.mktemp("index")
    parts = [ChromaIndex(path / "chroma", HashEmbeddings()), WordsIndex(path / "words.sqlite")]
    index = HybridIndex(parts)
    index.add(chunks)
    stored = {chunk.id: chunk for chunk in chunks}.values()
    for caller in callers:
        held = {"public", f"u:{caller.subject}", *(f"g:{group}" for group in caller.groups)}
        allowed = {c.text for c in stored if c.tenant == caller.tenant and held & set(c.readers)}
        for searched in (*parts, index):
            assert found(searched, "payment", caller, k=50) == allowed
