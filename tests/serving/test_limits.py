"""What a server answers when a caller asks for too much, or a store is away."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from markgraph.build import load_graph
from markgraph.checkpoints import sqlite
from markgraph.engines.fake import FakeEngine
from markgraph.errors import OverloadedError
from markgraph.models.chat import LocalChatModel
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Hit
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.counters import MemoryCounters
from markgraph.security.doors import LocalDoor
from markgraph.security.limits import Limits
from markgraph.security.redis_counters import RedisCounters
from markgraph.serving.app import create_app
from tests.retrieval.index_suite import chunk
from tests.security.test_limits import NO_LIMIT, in_one_window
from tests.servers import redis_server
from tests.serving.running import default_guard, running

# LangServe reads an attribute that pydantic has moved since.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince211", "ignore:astream_log is deprecated"
)

BODY = {"input": {"question": "When is payment due?"}}
SAID = "Payment is due within 30 days. [1]"
ANNA = Caller("anna", ("reader",))


class NamedDoor(LocalDoor):
    """Takes everybody at this machine for whom they say they are."""

    def admit(self, client: Any, headers: Any) -> Caller:
        return Caller(headers.get("x-name", "anna"), ("reader",))


@pytest.fixture
def index(tmp_path: Path) -> WordsIndex:
    index = WordsIndex(tmp_path / "words.sqlite")
    index.add([chunk("Payment is due within 30 days.")])
    return index


@pytest.fixture
def serve(index: WordsIndex) -> Callable[..., Any]:
    @contextmanager
    def serving(model: Any = None, counters: Any = None, **some: Any) -> Iterator[httpx.Client]:
        limits = Limits(counters or MemoryCounters(), **(NO_LIMIT | some.pop("limits", {})))
        services = {"embedder": HashEmbeddings(), "index": index, "limits": limits} | some
        graph = load_graph("qa", model=model or FakeChatModel(responses=[SAID]), **services)
        app = create_app({"qa": graph}, NamedDoor(ANNA), default_guard(), limits)
        with running(app) as address, httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
            yield client

    return serving


def slow(letters: int = 3000) -> tuple[LocalChatModel, FakeEngine]:
    engine = FakeEngine(["a" * letters], seconds=0.01)
    return LocalChatModel(engine=engine, max_tokens=letters), engine


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)


def test_too_many_requests_get_429_that_says_when(serve: Any) -> None:
    in_one_window()
    with serve(limits={"requests": 3}) as client:
        answers = [client.get("/qa/input_schema") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[3].json()["detail"].startswith("3 requests a minute are the most for 'anna'.")
        assert 1 <= int(answers[3].headers["retry-after"]) <= 120
        assert client.get("/qa/input_schema", headers={"x-name": "ben"}).status_code == 200
        assert client.get("/health").status_code == 200


def test_of_many_requests_at_once_as_many_as_allowed_are_answered_and_the_others_get_429(serve: Any) -> None:
    in_one_window(20)
    with serve(limits={"requests": 40}) as client:

        async def ask_all() -> list[int]:
            async with httpx.AsyncClient(base_url=client.base_url, timeout=60, trust_env=False) as many:
                runs = (many.post("/qa/invoke", json=BODY) for _ in range(100))
                return [answer.status_code for answer in await asyncio.gather(*runs)]

        codes = asyncio.run(ask_all())
    assert codes.count(200) == 40
    assert codes.count(429) == 60


@pytest.mark.parametrize("path", ["invoke", "stream", "stream_events", "batch"])
def test_a_caller_in_debt_gets_429_before_a_stream_begins(serve: Any, path: str) -> None:
    with serve(limits={"tokens": 5}) as client:
        assert client.post("/qa/invoke", json=BODY).status_code == 200
        body = {"inputs": [BODY["input"]]} if path == "batch" else BODY
        answer = client.post(f"/qa/{path}", json=body)
        assert (answer.status_code, "5 tokens a minute" in answer.text) == (429, True)
        assert int(answer.headers["retry-after"]) >= 1


def test_runs_at_once_get_429_and_a_place_is_free_when_a_client_goes_away(serve: Any) -> None:
    model, engine = slow()
    with serve(model, limits={"runs": 1}) as client:
        with client.stream("POST", "/qa/stream_events", json=BODY) as going:
            until(lambda: engine.steps > 0)
            for path in ("invoke", "stream"):
                answer = client.post(f"/qa/{path}", json=BODY)
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
            assert going.status_code == 200
        engine.answers = [SAID]
        until(lambda: client.post("/qa/invoke", json=BODY).status_code == 200, 2)


def test_a_batch_runs_no_more_at_once_than_its_caller_may(serve: Any) -> None:
    with serve(limits={"runs": 2}) as client:
        answer = client.post("/qa/batch", json={"inputs": [BODY["input"]] * 8})
        assert answer.status_code == 200
        assert [output["answer"] for output in answer.json()["output"]] == [SAID] * 8


def test_a_run_that_takes_too_long_gets_429_and_others_go_on(serve: Any) -> None:
    engine = FakeEngine(["a" * 3000, SAID], seconds=0.01)
    model = LocalChatModel(engine=engine, max_tokens=3000)
    answers: list[httpx.Response] = []
    with serve(model, limits={"wall_time": 2}) as client:
        long = threading.Thread(target=lambda: answers.append(client.post("/qa/invoke", json=BODY)))
        long.start()
        until(lambda: bool(engine.prompts))
        assert client.post("/qa/invoke", json=BODY, headers={"x-name": "ben"}).status_code == 200
        long.join(30)
        assert (answers[0].status_code, answers[0].headers["retry-after"]) == (429, "1")
        after = engine.steps
        time.sleep(0.3)
        assert engine.steps <= after + 1


@pytest.mark.parametrize("path", ["invoke", "batch", "stream", "stream_events", "stream_log"])
def test_a_client_that_goes_away_stops_the_model_within_a_second(serve: Any, path: str) -> None:
    model, engine = slow()
    body = {"inputs": [BODY["input"]]} if path == "batch" else BODY
    with serve(model) as client:
        gone = threading.Event()

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=client.base_url, trust_env=False) as impatient:
                asking = asyncio.ensure_future(impatient.post(f"/qa/{path}", json=body, timeout=60))
                while not engine.steps:
                    assert not asking.done(), asking.result().text
                    await asyncio.sleep(0.01)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            gone.set()

        asyncio.run(ask())
        assert gone.is_set()
        time.sleep(1)
        after = engine.steps
        time.sleep(0.5)
        assert engine.steps == after < 250


def test_redis_that_stops_is_never_a_500_and_limits_stay(serve: Any) -> None:
    in_one_window(15)
    with redis_server() as redis:
        counters = RedisCounters(redis.url, workers=2, away=0.2)
        with serve(counters=counters, limits={"requests": 20, "runs": 4}) as client:
            codes = [client.post("/qa/invoke", json=BODY).status_code for _ in range(3)]
            redis.stop()
            codes += [client.post("/qa/invoke", json=BODY).status_code for _ in range(10)]
            redis.start()
            time.sleep(0.3)
            codes += [client.post("/qa/invoke", json=BODY).status_code for _ in range(13)]
    assert codes[:10] == [200] * 10, "ten are the share of one of two"
    assert codes[10:13] == [429] * 3
    assert codes[13:] == [200] * 10 + [429] * 3


class AwayIndex:
    """Is away: `fault` is what happens."""

    name = "away"

    def __init__(self, fault: Callable[[], None]) -> None:
        self.fault = fault

    def __len__(self) -> int:
        return 1

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        self.fault()
        return []


def no_postgres() -> None:
    psycopg = pytest.importorskip("psycopg")
    psycopg.connect("host=127.0.0.1 port=1 connect_timeout=2")


def overloaded() -> None:
    raise OverloadedError("64 requests wait already.")


def full_disk() -> None:
    Path("/dev/full").write_text("x" * 10_000)


@pytest.mark.parametrize(
    ("fault", "status"), [(no_postgres, 503), (overloaded, 503), (full_disk, 507), (lambda: None, 200)]
)
def test_a_store_that_is_away_is_503_and_a_full_disk_507(
    serve: Any, fault: Callable[[], None], status: int
) -> None:
    with serve(index=AwayIndex(fault)) as client:
        for path in ("invoke", "stream"):
            answer = client.post(f"/qa/{path}", json=BODY)
            assert (path, answer.status_code) == (path, status), answer.text
            assert answer.headers.get("retry-after") == ("5" if status == 503 else None)
            assert "127.0.0.1" not in answer.text


def test_threads_on_a_full_disk_are_507_and_go_on_when_there_is_room(serve: Any, tmp_path: Path) -> None:
    threads = sqlite(str(tmp_path / "threads.sqlite"))
    pages = threads.conn.execute("PRAGMA page_count").fetchone()[0]
    thread = {"x-thread-id": "t"}
    with serve(checkpoint=threads) as client:
        threads.conn.execute(f"PRAGMA max_page_count = {pages}")
        answer = client.post("/qa/invoke", json=BODY, headers=thread)
        assert (answer.status_code, "disk is full" in answer.text) == (507, True)
        assert list(threads.list(None)) == []
        threads.conn.execute("PRAGMA max_page_count = 1000000")
        assert client.post("/qa/invoke", json=BODY, headers=thread).json()["output"]["answer"] == SAID


@pytest.mark.parametrize(
    "word", ["\n\nevent: evil\ndata: {}\n\n", "\r\revent: evil\rdata: {}\r\r", "\u2028x"]
)
def test_a_newline_in_an_answer_makes_no_event(serve: Any, word: str) -> None:
    said = f"Payment is due {word} within 30 days. [1]"
    with serve(FakeChatModel(responses=[said])) as client:
        for path in ("stream", "stream_events", "stream_log"):
            answer = client.post(f"/qa/{path}", json=BODY)
            assert answer.status_code == 200
            fields = {line.partition(":")[0] for line in answer.text.replace("\r", "\n").split("\n")}
            events = [line for line in answer.text.splitlines() if line.startswith("event:")]
            assert fields <= {"", "event", "data", "id"}
            assert not any("evil" in event for event in events)
            data = [line[6:] for line in answer.text.split("\r\n") if line.startswith("data: {")]
            assert data
            assert all(isinstance(json.loads(part), dict) for part in data)
