"""What the application says when a graph can't answer."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from langgraph.checkpoint.memory import InMemorySaver

from markgraph.build import Graph, compose, load_graph, make_service
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.doors import LocalDoor
from markgraph.security.guard import Guard
from markgraph.serving.app import create_app
from tests.graphs.conftest import LIABILITY, PAYMENT
from tests.retrieval.index_suite import chunk

# LangServe reads an attribute that pydantic has moved since.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")

GUARD = Guard(make_service(compose("serve"), "policy"))
NOTE = {"tool": "save_note", "args": {"text": "hello"}}


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = WordsIndex(tmp_path / "words.sqlite")
    index.add([chunk("payment is due")])
    return index


def post(graph: Graph, caller: Caller, client: str = "127.0.0.1", path: str = "/invoke") -> Any:
    name = graph.get_name()
    app = create_app({name: graph}, LocalDoor(caller), GUARD)
    with TestClient(app, base_url="http://127.0.0.1", client=(client, 5000)) as http:
        return http.post(f"/{name}{path}", json={"input": {"question": "When is payment due?"}})


def test_a_denied_caller_gets_403(index: Index, embedder: HashEmbeddings) -> None:
    graph = load_graph("qa", model=FakeChatModel(), embedder=embedder, index=index)
    response = post(graph, Caller("rita"))
    assert response.status_code == 403
    assert "reader" in response.json()["detail"]


def test_another_machine_gets_403_on_every_route(
    index: Index, embedder: HashEmbeddings, reader: Caller
) -> None:
    graph = load_graph("qa", model=FakeChatModel(), embedder=embedder, index=index)
    app = create_app({"qa": graph}, LocalDoor(reader), GUARD)
    paths = [path for path in app.openapi()["paths"] if path.startswith("/qa")]
    assert len(paths) >= 8
    with TestClient(app, base_url="http://127.0.0.1", client=("10.0.0.9", 5000)) as http:
        for path in paths:
            for method, _ in app.openapi()["paths"][path].items():
                assert http.request(method, path, json={}).status_code in (403, 404), path


def test_an_empty_index_gets_409(tmp_path: Path, embedder: HashEmbeddings, reader: Caller) -> None:
    empty = WordsIndex(tmp_path / "nothing.sqlite")
    response = post(load_graph("qa", model=FakeChatModel(), embedder=embedder, index=empty), reader)
    assert response.status_code == 409
    assert "markgraph ingest" in response.json()["detail"]


def test_a_run_that_waits_for_a_person_gets_409(
    index: Index, embedder: HashEmbeddings, reader: Caller
) -> None:
    model = FakeChatModel(responses=[NOTE])
    response = post(load_graph("agent", model=model, embedder=embedder, index=index), reader)
    assert response.status_code == 409
    assert "save_note" in response.json()["detail"]


@pytest.mark.filterwarnings("ignore:astream_log is deprecated")  # LangServe's own call
@pytest.mark.parametrize(
    ("path", "shows"), [("/stream_events", "on_chat_model_stream"), ("/stream_log", "ops")]
)
def test_what_goes_on_within_a_run_is_not_shown(
    index: Index, embedder: HashEmbeddings, path: str, shows: str
) -> None:
    index.add([chunk(PAYMENT, source="terms.md"), chunk(LIABILITY, "g:legal", source="contract.md")])
    model = FakeChatModel(responses=[f"{LIABILITY} [1]", f"{PAYMENT} [1]"])
    services: Any = {"model": model, "embedder": embedder, "index": index, "checkpoint": InMemorySaver()}
    graph = load_graph("qa", **services)

    def ask(question: str, path: str, *groups: str) -> str:
        app = create_app({"qa": graph}, LocalDoor(Caller("anna", ("reader",), groups=groups)), GUARD)
        with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 5000)) as http:
            body, headers = {"input": {"question": question}}, {"x-thread-id": "t"}
            return http.post(f"/qa{path}", json=body, headers=headers).text

    liability = "The supplier's liability under this contract is capped at how many % of the yearly fees?"
    assert "150 %" in ask(liability, "/invoke", "legal")
    shown = ask("Within how many days must the customer pay an invoice?", path)
    assert shows in shown
    assert "within 30 days" in shown
    for withheld in ("150 %", "history", "passages", "SystemMessage"):
        assert withheld not in shown


@pytest.fixture
def embedder() -> HashEmbeddings:
    return HashEmbeddings()


def test_a_thread_needs_its_own_permission(index: Index, reader: Caller) -> None:
    graph = load_graph("qa", model=FakeChatModel(), embedder=HashEmbeddings(), index=index)
    strict = make_service(compose("serve", ["auth/policy=strict"]), "policy")
    app = create_app({"qa": graph}, LocalDoor(reader), Guard(strict))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 5000)) as http:
        asked = {"json": {"input": {"question": "When is payment due?"}}}
        assert http.post("/qa/invoke", **asked).status_code == 200  # type: ignore[arg-type]
        denied = http.post("/qa/invoke", headers={"x-thread-id": "t"}, **asked)  # type: ignore[arg-type]
    assert (denied.status_code, "'threads:write'" in denied.text) == (403, True)
