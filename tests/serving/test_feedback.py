"""Rating an answer over HTTP: one's own, and with nothing but what the server itself knows of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from langgraph.checkpoint.memory import InMemorySaver

from markgraph.build import load_graph
from markgraph.errors import UnauthenticatedError
from markgraph.feedback.desk import Desk
from markgraph.feedback.store import FeedbackStore
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.doors import LocalDoor
from markgraph.serving.app import create_app
from tests.graphs.conftest import PAYMENT
from tests.retrieval.index_suite import chunk
from tests.serving.running import default_guard

# LangServe reads an attribute that pydantic has moved since.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")

PAY = "Within how many days must the customer pay an invoice?"


class NameDoor(LocalDoor):
    """Takes whoever says a name for that person: only for tests."""

    def admit(self, client: Any, headers: Any) -> Caller:
        if not headers.get("x-name"):
            raise UnauthenticatedError("Say who you are.")
        return Caller(headers["x-name"], ("reader",))


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(tmp_path / "feedback.sqlite")


@pytest.fixture
def http(tmp_path: Path, store: FeedbackStore) -> Iterator[TestClient]:
    index = WordsIndex(tmp_path / "words.sqlite")
    index.add([chunk(PAYMENT)])
    threads, guard = InMemorySaver(), default_guard()
    services: Any = {"index": index, "embedder": HashEmbeddings(), "checkpoint": threads}
    graph = load_graph("qa", model=FakeChatModel(responses=[f"{PAYMENT} [1]"]), **services)
    app = create_app({"qa": graph}, NameDoor(Caller()), guard, desk=Desk(store, threads, guard))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def as_(name: str, thread: str | None = "t") -> dict[str, str]:
    return {"x-name": name} | ({"x-thread-id": thread} if thread else {})


def ask(http: TestClient, name: str = "anna", thread: str | None = "t") -> dict[str, Any]:
    response = http.post("/qa/invoke", json={"input": {"question": PAY}}, headers=as_(name, thread))
    answer: dict[str, Any] = response.json()["output"]
    return answer


def test_an_answer_of_ones_own_is_rated(http: TestClient, store: FeedbackStore) -> None:
    answer = ask(http)
    body = {"run_id": answer["run_id"], "rating": "down", "correction": "30 days."}
    response = http.post("/feedback", json=body, headers=as_("anna"))
    (said,) = store.latest("default")
    assert (response.status_code, response.json()) == (200, {"id": said["id"]})
    assert (said["subject"], said["rating"], said["correction"]) == ("anna", "down", "30 days.")
    assert (said["question"], said["answer"]) == (PAY, answer["answer"])


def test_of_another_persons_answer_nothing_is_kept(http: TestClient, store: FeedbackStore) -> None:
    body = {"run_id": ask(http, "anna")["run_id"], "rating": "up"}
    ask(http, "ben")
    of_ben = http.post("/feedback", json=body, headers=as_("ben"))
    assert (of_ben.status_code, "no run" in of_ben.json()["detail"]) == (422, True)
    assert http.post("/feedback", json=body, headers={"x-thread-id": "t"}).status_code == 401
    assert [*store.latest("default")] == []


def test_an_answer_outside_of_threads_cannot_be_rated(http: TestClient, store: FeedbackStore) -> None:
    body = {"run_id": ask(http, thread=None)["run_id"], "rating": "up"}
    response = http.post("/feedback", json=body, headers=as_("anna", None))
    assert (response.status_code, "X-Thread-Id" in response.json()["detail"]) == (422, True)
    assert http.post("/feedback", json=body, headers=as_("anna", "t")).status_code == 422
    assert [*store.latest("default")] == []


@pytest.mark.parametrize(
    "more",
    [
        {"question": "What else?"},
        {"answer": "Never."},
        {"subject": "ben"},
        {"tenant": "other"},
        {"documents": ["x"]},
        {"rating": "meh"},
        {"rating": None},
        {"correction": " "},
        {"comment": "x" * 8001},
        {"graph": "other"},
        {"run_id": ""},
        {"run_id": "my salary is 5000 euros"},
    ],
)
def test_a_client_says_nothing_of_the_answer(
    more: dict[str, Any], http: TestClient, store: FeedbackStore
) -> None:
    body = {"run_id": ask(http)["run_id"], "rating": "up", **more}
    assert http.post("/feedback", json=body, headers=as_("anna")).status_code == 422
    assert [*store.latest("default")] == []


def test_without_a_desk_there_is_no_such_route(tmp_path: Path) -> None:
    graph = load_graph("qa", ["model=fake", "experiment=no_weights", f"data_dir={tmp_path}"])
    app = create_app({"qa": graph}, NameDoor(Caller()), default_guard())
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.post("/feedback", json={}, headers=as_("anna")).status_code == 404
