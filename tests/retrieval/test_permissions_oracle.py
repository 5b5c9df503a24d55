"""Whatever is done to an index, a caller finds what a brute-force oracle permits, and all of it.

One machine for all indexes: a new one is a line in `INDEXES`.
"""

import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.bm25s import Bm25sIndex
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.chroma_server import ChromaServerIndex
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.pgvector import PgVectorIndex
from markgraph.retrieval.types import Chunk, Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions

Open = Callable[[Path], Index]
TENANTS = ["default", "other"]
READERS = st.lists(
    st.sampled_from(["public", "u:anna", "u:ben", "g:legal", "g:sales"]), max_size=3, unique=True
).map(tuple)
LEVELS = st.integers(0, 3)
CALLERS = st.builds(
    Caller,
    st.sampled_from(["anna", "ben", "eve"]),
    tenant=st.sampled_from(TENANTS),
    groups=st.lists(st.sampled_from(["legal", "sales"]), unique=True),
    clearance=LEVELS,
)
CHUNKS = st.builds(
    lambda word, source, tenant, readers, level: Chunk(
        f"payment {word}", source, source, 0, 8, tenant=tenant, readers=readers, classification=level
    ),
    st.text(string.ascii_lowercase, min_size=1, max_size=2),
    st.sampled_from("ab"),
    st.sampled_from(TENANTS),
    READERS,
    LEVELS,
)


def permits(caller: Caller, chunk: Chunk) -> bool:
    """Say by other means than the code under test whether `caller` may read `chunk`."""
    atoms = {"public", f"u:{caller.subject}"} | {f"g:{group}" for group in caller.groups}
    same_tenant = caller.tenant == chunk.tenant
    return (
        same_tenant and caller.clearance >= chunk.classification and bool(atoms.intersection(chunk.readers))
    )


class PermissionsMachine(RuleBasedStateMachine):
    """Does to an index, through two handles, what it does to a dict."""

    open: Open

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / uuid4().hex
        self.path.mkdir()
        self.handles = [self.open(self.path), self.open(self.path)]
        self.stored: dict[str, Chunk] = {}

    @rule(chunks=st.lists(CHUNKS, min_size=1, max_size=6), handle=st.integers(0, 1))
    def add(self, chunks: list[Chunk], handle: int) -> None:
        self.handles[handle].add(chunks)
        self.stored |= {chunk.id: chunk for chunk in chunks}

    @rule(data=st.data(), readers=READERS, level=LEVELS, handle=st.integers(0, 1))
    def permit(self, data: st.DataObject, readers: tuple[str, ...], level: int, handle: int) -> None:
        tenant = data.draw(st.sampled_from(TENANTS))
        ids = self._some([id_ for id_, chunk in self.stored.items() if chunk.tenant == tenant], data)
        self.handles[handle].permit([*ids, "unknown"], Permissions(tenant, readers, level))
        for id_ in ids:
            self.stored[id_] = replace(self.stored[id_], readers=readers, classification=level)

    @rule(data=st.data(), handle=st.integers(0, 1))
    def remove(self, data: st.DataObject, handle: int) -> None:
        ids = self._some(list(self.stored), data)
        self.handles[handle].remove(ids)
        for id_ in ids:
            del self.stored[id_]

    @rule(data=st.data(), readers=READERS, handle=st.integers(0, 1))
    def add_again_for_others(self, data: st.DataObject, readers: tuple[str, ...], handle: int) -> None:
        chunks = [replace(self.stored[id_], readers=readers) for id_ in self._some(list(self.stored), data)]
        self.add(chunks, handle)

    @rule(handle=st.integers(0, 1))
    def reopen(self, handle: int) -> None:
        self.handles[handle] = self.open(self.path)

    @rule(caller=CALLERS, handle=st.integers(0, 1))
    def search(self, caller: Caller, handle: int) -> None:
        allowed = {id_: chunk for id_, chunk in self.stored.items() if permits(caller, chunk)}
        hits = self.handles[handle].search("payment", caller, len(self.stored) + 1)
        assert {hit.chunk.id: hit.chunk for hit in hits} == allowed
        again = self.handles[handle].search("payment", caller, len(self.stored) + 1)
        assert {hit.chunk.id: hit.chunk for hit in again} == allowed
        few = self.handles[handle].search("payment", caller, 2)
        assert len(few) == min(2, len(allowed))
        assert all(hit.chunk.id in allowed for hit in few)

    @rule(caller=CALLERS, handle=st.integers(0, 1))
    def get(self, caller: Caller, handle: int) -> None:
        expected = [chunk for chunk in self.stored.values() if permits(caller, chunk)]
        assert self.handles[handle].get([*self.stored, "unknown"], caller) == expected

    @invariant()
    def holds_what_it_was_given(self) -> None:
        if hasattr(self, "stored"):
            for handle in self.handles:
                assert len(handle) == len(self.stored)

    def teardown(self) -> None:
        if hasattr(self, "stored"):
            everything = self.handles[0].scan(limit=1000)
            assert everything == [self.stored[id_] for id_ in sorted(self.stored)]
            self.folder.cleanup()

    @staticmethod
    def _some(ids: list[str], data: st.DataObject) -> list[str]:
        return data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []


def chroma(path: Path) -> Index:
    return ChromaIndex(path / "chroma", HashEmbeddings())


def words(path: Path) -> Index:
    return WordsIndex(path / "words.sqlite")


def bm25s(path: Path) -> Index:
    return Bm25sIndex(path / "words.sqlite", tail=2)


def hybrid(path: Path) -> Index:
    return HybridIndex([chroma(path), words(path)])


def chroma_server(path: Path, request: pytest.FixtureRequest) -> Index:
    port = request.getfixturevalue("chroma_port")
    return ChromaServerIndex(HashEmbeddings(), path.name, port=port)


def pgvector(path: Path, request: pytest.FixtureRequest) -> Index:
    return PgVectorIndex(HashEmbeddings(), path.name, request.getfixturevalue("postgres"), connections=1)


INDEXES: dict[str, tuple[Callable[..., Index], int]] = {
    "chroma": (chroma, 12),
    "words": (words, 30),
    "bm25s": (bm25s, 12),
    "hybrid": (hybrid, 8),
    "chroma_server": (chroma_server, 3),
    "pgvector": (pgvector, 8),
}
"""How each is opened on a folder, and how many sequences of operations it goes through."""


@pytest.mark.parametrize("name", INDEXES)
def test_shows_exactly_what_a_brute_force_oracle_permits(name: str, request: pytest.FixtureRequest) -> None:
    make, examples = INDEXES[name]
    wants_server = "request" in make.__code__.co_varnames

    class Machine(PermissionsMachine):
        @staticmethod
        def open(path: Path) -> Index:
            return make(path, request) if wants_server else make(path)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
