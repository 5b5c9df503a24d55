"""A Postgres that holds the threads goes away under a server: clients are told to come back, and can."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from markgraph import Caller, load_graph, thread_key
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.security.doors import LocalDoor
from markgraph.serving.app import create_app
from tests.retrieval.index_suite import chunk
from tests.servers import OwnPostgres, own_postgres
from tests.serving.running import default_guard, running

pytestmark = [
    pytest.mark.slow,
    # LangServe reads an attribute that pydantic has moved since.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
]
ANNA = Caller("anna", ("reader",))
BODY = {"input": {"question": "When is payment due?"}}


class Site(NamedTuple):
    """A server, its graph, and the database under it."""

    client: httpx.Client
    graph: Any
    postgres: OwnPostgres

    def ask(self, thread: str) -> httpx.Response:
        return self.client.post("/qa/invoke", json=BODY, headers={"x-thread-id": thread})

    def turns(self, thread: str) -> int:
        config = {"configurable": {"thread_id": thread_key(ANNA, f"qa:{thread}")}}
        return len(self.graph.get_state(config).values.get("history") or [])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    from markgraph.checkpoints.postgres_saver import PostgresCheckpointer

    index = WordsIndex(tmp_path / "words.sqlite")
    index.add([chunk("Payment is due within 30 days.")])
    model = FakeChatModel(responses=["Payment is due within 30 days. [1]"])
    services: Any = {"model": model, "embedder": HashEmbeddings(), "index": index}
    with own_postgres() as postgres:
        threads = PostgresCheckpointer(postgres.conninfo, connections=8, wait=0.5)
        graph = load_graph("qa", checkpoint=threads, **services)
        app = create_app({"qa": graph}, LocalDoor(ANNA), default_guard())
        with running(app) as address, httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield Site(client, graph, postgres)


def test_says_when_to_come_back_and_goes_on_then(site: Site) -> None:
    assert site.ask("t").status_code == 200
    site.postgres.stop()
    away = site.ask("t")
    assert (away.status_code, away.headers["retry-after"]) == (503, "5")
    assert str(site.postgres.folder) not in away.text
    assert site.client.get("/health").status_code == 200
    site.postgres.start()
    assert site.ask("t").status_code == 200
    assert site.turns("t") == 2


def test_restarts_under_eight_clients_are_never_a_fault_and_no_turn_is_lost(site: Site) -> None:
    assert site.ask("begin").status_code == 200
    done = threading.Event()

    def restart() -> None:
        for _ in range(3):
            time.sleep(0.6)
            site.postgres.stop()
            time.sleep(0.8)
            site.postgres.start()
        done.set()

    def keep_asking(thread: str) -> set[int]:
        codes, asked = set(), 0
        while not done.is_set() or not asked:
            answer = site.ask(f"{thread}-{asked}")
            codes.add(answer.status_code)
            asked += answer.status_code == 200
        for at in range(asked):
            assert site.turns(f"{thread}-{at}") >= 1
        return codes

    restarting = threading.Thread(target=restart)
    restarting.start()
    with ThreadPoolExecutor(8) as pool:
        codes = set().union(*pool.map(keep_asking, map(str, range(8))))
    restarting.join()
    assert 200 in codes <= {200, 503}
