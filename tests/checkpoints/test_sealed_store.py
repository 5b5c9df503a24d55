"""What a graph remembers beyond its threads is sealed, in each of LangGraph's stores."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.store.postgres import PostgresStore
from langgraph.store.sqlite import SqliteStore
from psycopg.rows import dict_row
from typing_extensions import TypedDict

from markgraph import Caller, load_graph
from markgraph.checkpoints.sealed_store import SealedStore
from markgraph.errors import SealError, ShreddedError, UsageError
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.security.sealing.keyring import Keyring
from tests.retrieval.index_suite import chunk

MINE = ("acme", "canaryuser", "memories")
CANARIES = ["canaryuser", "canarykey", "canaryvalue"]


@pytest.fixture(params=["sqlite", "postgres"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Return an empty store of each kind."""
    if request.param == "sqlite":
        connection = sqlite3.connect(tmp_path / "store.sqlite", check_same_thread=False, isolation_level=None)
        store: Any = SqliteStore(connection)
        store.setup()
        yield store
        connection.close()
        return
    conninfo = request.getfixturevalue("database")
    with psycopg.connect(conninfo, autocommit=True, prepare_threshold=0, row_factory=dict_row) as postgres:
        store = PostgresStore(postgres)
        store.setup()
        yield store


def test_gives_back_what_was_put_and_keeps_nothing_in_clear(kept: BaseStore, keyring: Keyring) -> None:
    store = SealedStore(kept, keyring)
    store.put(MINE, "canarykey", {"text": "canaryvalue"})
    store.put((*MINE, "deeper"), "other", {"n": 1})
    store.put(("acme", "somebody"), "canarykey", {"n": 2})
    found = store.get(MINE, "canarykey")
    assert found is not None
    assert (found.namespace, found.key, found.value) == (MINE, "canarykey", {"text": "canaryvalue"})
    below = {(item.namespace, item.key) for item in store.search(MINE)}
    assert below == {(MINE, "canarykey"), ((*MINE, "deeper"), "other")}
    assert store.get(("other", *MINE[1:]), "canarykey") is None
    everything = str([item.dict() for item in kept.search((), limit=100)])
    assert [canary for canary in CANARIES if canary in everything] == []
    assert "acme" in everything
    store.delete(MINE, "canarykey")
    assert store.get(MINE, "canarykey") is None


class Asked(TypedDict):
    """The state of an app's graph."""

    question: str
    before: list[str]


def test_an_apps_graph_remembers_what_its_callers_asked_and_keeps_nothing_in_clear(
    kept: BaseStore, keyring: Keyring, tmp_path: Path
) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    index.add([chunk("Payment is due within 30 days.")])
    services: Any = {"model": FakeChatModel(), "embedder": HashEmbeddings(), "index": index}

    def remember(state: Asked, runtime: Runtime[Caller]) -> dict[str, Any]:
        assert runtime.store
        mine = (runtime.context.tenant, runtime.context.subject)
        before = [item.value["question"] for item in runtime.store.search(mine)]
        runtime.store.put(mine, f"canarykey{len(before)}", {"question": state["question"]})
        return {"before": before}

    app = StateGraph(Asked, Caller)
    app.add_node("remember", remember)
    app.add_node("answer", load_graph("qa", **services))
    app.add_edge(START, "remember")
    app.add_edge("remember", "answer")
    graph = app.compile(store=SealedStore(kept, keyring))
    asked: Any = {"question": "canaryvalue", "before": []}
    for name, before in (("canaryuser", []), ("canaryuser", ["canaryvalue"]), ("ben", [])):
        assert graph.invoke(asked, context=Caller(name, ("reader",)))["before"] == before
    everything = str([item.dict() for item in kept.search((), limit=100)])
    assert [canary for canary in CANARIES if canary in everything] == []


def test_works_without_blocking_over_a_store_that_does(keyring: Keyring) -> None:
    from langgraph.store.memory import InMemoryStore

    async def go() -> Any:
        store = SealedStore(InMemoryStore(), keyring)
        await store.aput(MINE, "k", {"n": 1})
        return await store.aget(MINE, "k"), await store.asearch(MINE)

    item, (found,) = asyncio.run(go())
    assert item.value == found.value == {"n": 1}


def test_an_item_that_was_moved_or_forged_is_refused(kept: BaseStore, keyring: Keyring) -> None:
    store = SealedStore(kept, keyring)
    store.put(MINE, "one", {"n": 1})
    store.put(MINE, "two", {"n": 2})
    one, two = sorted(kept.search(()), key=lambda item: item.key)
    kept.put(one.namespace, one.key, two.value)
    with pytest.raises(SealError, match="does not open"):
        store.search(MINE)
    kept.put(one.namespace, one.key, {"n": 3})
    with pytest.raises(SealError, match="is not sealed"):
        store.search(MINE)


def test_a_shredded_tenant_remembers_nothing(kept: BaseStore, keyring: Keyring) -> None:
    store = SealedStore(kept, keyring)
    store.put(MINE, "one", {"n": 1})
    keyring.shred("acme")
    with pytest.raises(ShreddedError):
        store.get(MINE, "one")


def test_what_needs_the_text_is_refused(keyring: Keyring, kept: BaseStore) -> None:
    store = SealedStore(kept, keyring)
    acts = [lambda: store.search(MINE, query="x"), lambda: store.search(MINE, filter={"n": 1})]
    for act in (*acts, lambda: store.list_namespaces(), lambda: store.search(())):
        with pytest.raises(UsageError, match=r"A sealed store gets|begins with a tenant"):
            act()
