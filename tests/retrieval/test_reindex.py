"""A collection moves to another embedder while it serves, on every store."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from markgraph.build import make_embedder
from markgraph.errors import ConfigError, EmptyIndexError, StorageError
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.chroma_server import ChromaServerIndex
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.generations import FIRST, Generation, Store, SwitchableIndex, generation_name
from markgraph.retrieval.pgvector import PgVectorIndex
from markgraph.retrieval.reindex import Move
from markgraph.retrieval.types import Chunk
from markgraph.security.permissions import Permissions
from tests.retrieval.index_suite import ANNA, BEN, IndexSuite, chunk, found

OLD, NEW = HashEmbeddings(), HashEmbeddings(dimensions=64)
Opener = Callable[[Embedder], Store]


@pytest.fixture(params=["chroma", "chroma_server", "pgvector"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    name = f"{tmp_path.parent.name}-{tmp_path.name}"[-45:].strip("-._[]").replace("[", "-").replace("]", "")
    if request.param == "chroma":
        return lambda embedder: ChromaIndex(tmp_path / "chroma", embedder)
    if request.param == "chroma_server":
        port = request.getfixturevalue("chroma_port")
        return lambda embedder: ChromaServerIndex(embedder, name, port=port)
    conninfo = request.getfixturevalue("postgres")
    return lambda embedder: PgVectorIndex(embedder, name, conninfo)


def switchable(store: Store) -> SwitchableIndex:
    return SwitchableIndex(store, make_embedder)


def move(store: Store, **changes: Any) -> Move:
    return replace(Move(store, "hash", {"dimensions": 64}, lambda: nullcontext()), **changes)


def some(count: int = 12) -> list[Chunk]:
    return [chunk(f"payment {n}", ("g:legal", "u:ben")[n % 2], source=f"s{n}") for n in range(count)]


def test_a_running_process_goes_on_with_the_new_embedder(open_store: Opener) -> None:
    running = switchable(open_store(OLD))
    running.add(some())
    before = found(running, "payment", ANNA, k=50)
    report = move(open_store(NEW)).run()
    assert (report.chunks, report.written, report.switched, report.dropped) == (12, 12, True, 1)
    assert found(running, "payment", ANNA, k=50) == before
    assert open_store(OLD).generations() == {generation_name(NEW): "hash-64"}
    running.add([chunk("payment anew", source="new")])
    assert "payment anew" in found(switchable(open_store(NEW)), "payment", BEN, k=50)
    running.permit([chunk("payment anew", source="new").id], Permissions("default", ("u:ben",), 0))
    assert found(running, "payment", ANNA, k=50) == before


def test_only_an_embedder_that_never_served_is_refused(open_store: Opener) -> None:
    switchable(open_store(OLD)).add(some())
    move(open_store(NEW)).run()
    for known in (OLD, NEW):
        assert len(found(switchable(open_store(known)), "payment", ANNA)) == 6
    with pytest.raises(StorageError, match=r"built with embedder 'hash-64'.*asks for 'hash-32'"):
        switchable(open_store(HashEmbeddings(dimensions=32))).search("payment", ANNA, 1)


def test_moving_again_does_nothing_and_moving_back_is_possible(open_store: Opener) -> None:
    switchable(open_store(OLD)).add(some())
    move(open_store(NEW), keep_old=True).run()
    assert open_store(NEW).generations() == {FIRST: "hash-256", generation_name(NEW): "hash-64"}
    again = move(open_store(NEW)).run()
    assert (again.chunks, again.written, again.switched, again.dropped) == (12, 0, False, 1)
    back = replace(move(open_store(OLD)), settings={}).run()
    assert (back.chunks, back.written, back.switched) == (12, 12, True)
    assert len(found(switchable(open_store(OLD)), "payment", ANNA)) == 6


def test_catches_up_with_what_happened_while_it_built(open_store: Opener) -> None:
    chunks = some()
    running = switchable(open_store(OLD))
    running.add(chunks)

    @contextmanager
    def meanwhile() -> Iterator[None]:
        running.remove([chunks[0].id])
        running.permit([chunks[2].id], Permissions("default", ("u:ben",), 0))
        running.add([chunk("payment later", source="later"), replace(chunks[4], title="Renamed")])
        yield

    report = move(open_store(NEW), alone=meanwhile).run()
    assert (report.chunks, report.written) == (12, 14)
    texts = {"payment 6", "payment 8", "payment 10", "payment 4", "payment later"}
    assert found(running, "payment", ANNA, k=50) == texts
    assert "payment 2" in found(running, "payment", BEN, k=50)
    assert running.get([chunks[4].id], ANNA)[0].title == "Renamed"


def test_goes_on_where_an_interrupted_run_stopped(open_store: Opener) -> None:
    switchable(open_store(OLD)).add(some(600))
    calls: list[int] = []

    def interrupt(count: int) -> None:
        calls.append(count)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(open_store(NEW), progress=interrupt).run()
    assert open_store(OLD).current() is None
    assert len(found(switchable(open_store(OLD)), "payment", ANNA, k=400)) == 300
    assert move(open_store(NEW)).run().written == 600 - sum(calls)
    assert len(found(switchable(open_store(OLD)), "payment", ANNA, k=400)) == 300


def test_an_embedder_that_finds_nothing_again_is_not_switched_to(open_store: Opener) -> None:
    @dataclass
    class Forgetful(HashEmbeddings):
        """Embeds a question unlike a document."""

        name = "forgetful"

        def embed_query(self, text: str) -> list[float]:
            return [float(at == hash(text) % 7) + 1e-3 for at in range(self.dimensions)]

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[float(at == 100) for at in range(self.dimensions)] for _ in texts]

    running = switchable(open_store(OLD))
    running.add(some(60))
    with pytest.raises(StorageError, match=r"sampled chunks don't find themselves.*old ones go on serving"):
        move(open_store(Forgetful())).run()
    assert running.index.current() is None
    assert len(found(running, "payment", ANNA, k=50)) == 30


def test_there_must_be_something_to_move(open_store: Opener) -> None:
    with pytest.raises(EmptyIndexError, match="markgraph ingest FOLDER"):
        move(open_store(NEW)).run()


class TestSwitchableIndex(IndexSuite):
    def make_index(self, path: Path) -> SwitchableIndex:
        return switchable(ChromaIndex(path / "chroma", OLD))


class TestSwitchedIndex(IndexSuite):
    def make_index(self, path: Path) -> SwitchableIndex:
        index = switchable(ChromaIndex(path / "chroma", OLD))
        if index.index.current() is None:
            path.joinpath("chroma").mkdir(exist_ok=True)
            name = generation_name(NEW)
            index.index.switch(Generation(name, "hash-64", "hash", {"dimensions": 64}, ("hash-256",)))
        return index


@pytest.mark.parametrize(
    ("option", "settings"),
    [
        ("hash", {"_target_": "os.system"}),
        ("hash", {"dimensions": "${oc.env:HOME}"}),
        ("hash", {"nonsense": 1}),
        ("hash", {"dimensions": {"_target_": "os.system"}}),
        ("hash collection=x", {}),
        ("../model/fake", {}),
        ("none", {}),
    ],
)
def test_a_note_names_options_and_plain_settings_and_nothing_else(
    option: str, settings: Mapping[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        make_embedder(option, settings)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"name": "../x", "embedder": "", "option": "", "replaced": []}']
)
def test_a_note_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    index = ChromaIndex(tmp_path, OLD)
    (tmp_path / "current.json").write_text(text, "utf-8")
    with pytest.raises(StorageError, match=r"can't be read|none of ours"):
        switchable(index).search("payment", ANNA, 1)


def test_the_new_embedder_is_made_once_however_many_ask_at_a_time(tmp_path: Path) -> None:
    store = ChromaIndex(tmp_path / "chroma", OLD)
    switchable(store).add(some())
    move(ChromaIndex(tmp_path / "chroma", NEW)).run()
    made = []

    def slowly(option: str, settings: Mapping[str, Any]) -> Embedder:
        made.append(option)
        time.sleep(0.1)
        return make_embedder(option, settings)

    index = SwitchableIndex(store, slowly)
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda _: len(index), range(8)))
    assert (made, set(sizes)) == (["hash"], {12})
