"""Two tenants, three people in each, and every route: nobody reads or writes what is another's.

The people of both tenants have the same names, ask the same questions, and call their threads alike.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from langgraph.checkpoint.memory import InMemorySaver

from markgraph.build import Graph, compose, load_graph, make
from markgraph.feedback.desk import Desk
from markgraph.feedback.store import FeedbackStore
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller, owner_of, thread_key
from markgraph.security.doors import TokenDoor
from markgraph.security.tokens.api_keys import ApiKeys
from markgraph.security.tokens.store import AuthStore
from markgraph.serving.app import create_app
from tests.retrieval.index_suite import chunk
from tests.security.provider import serving
from tests.serving.running import default_guard

pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:astream_log is deprecated"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:websockets"),
]

BONUS = "The secret bonus of the managing director for the year is {} EUR."
QUESTION = "How high is the secret bonus of the managing director?"
AGAIN = "And what else?"
PEOPLE = [
    Caller(name, roles, tenant)
    for tenant in ("acme", "other")
    for name, roles in (("anna", ["reader"]), ("ben", ["reader"]), ("carl", []))
]
ASKERS = [person for person in PEOPLE if person.roles]
SUM = {owner_of(person): str(10_001 + 1_111 * at) for at, person in enumerate(PEOPLE)}
"""What nobody but one person may see."""
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

OPEN = {("GET", "/health")}
ISSUER = {
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/oauth/jwks.json"),
    ("POST", "/oauth/token"),
    ("POST", "/oauth/revoke"),
}
"""Routes for clients that have no token yet; two of them ask for a client's secret."""
ANSWERS = ("invoke", "batch", "stream", "stream_log", "stream_events")
SHOWS = ("input_schema", "output_schema", "config_schema", "playground/{file_path:path}")
GUARDED = {("GET", "/openapi.json"), ("POST", "/feedback")}
GUARDED |= {("POST", f"/qa/{name}") for name in ANSWERS}
GUARDED |= {("GET", f"/qa/{name}") for name in SHOWS}


@dataclass(frozen=True)
class Served:
    """A server with the door of auth=dev, and an API key for each person."""

    url: str
    app: FastAPI
    graph: Graph
    store: AuthStore
    door: TokenDoor
    keys: dict[str, str]

    def headers(self, person: Caller, thread: str | None = None) -> dict[str, str]:
        headers = {"authorization": f"Bearer {self.keys[owner_of(person)]}"}
        return headers if thread is None else headers | {"x-thread-id": thread}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGSMITH_TRACING", "false")
        with running(tmp_path_factory.mktemp("served")) as made:
            yield made


@contextmanager
def running(folder: Path) -> Iterator[Served]:
    index = WordsIndex(folder / "words.sqlite")
    index.add(
        [
            chunk(
                BONUS.format(SUM[owner_of(person)]),
                f"u:{person.subject}",
                source=f"{owner_of(person)}.md",
                tenant=person.tenant,
            )
            for person in PEOPLE
        ]
    )
    services: Any = {"model": FakeChatModel(), "embedder": HashEmbeddings(), "index": index}
    graph = load_graph("qa", checkpoint=InMemorySaver(), **services)
    door: TokenDoor = make(compose("serve", ["auth=dev", "auth.attempts=null", f"data_dir={folder}"]), "auth")
    store = AuthStore(str(folder / "auth.sqlite"))
    keys = {owner_of(person): ApiKeys(store).make(person, 1) for person in PEOPLE}
    guard = default_guard()
    desk = Desk(FeedbackStore(folder / "feedback.sqlite"), graph.checkpointer, guard)
    app = create_app({"qa": graph}, door, guard, desk=desk)
    with serving(app) as url:
        yield Served(url, app, graph, store, door, keys)


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    """Return the method and the path of every route."""
    routes: list[Any] = []
    for route in app.routes:
        included = getattr(route, "original_router", None)  # FastAPI's entry for a router
        routes.extend(included.routes if included else [route])
    return {(method, route.path) for route in routes for method in route.methods - {"HEAD"}}


def filled(path: str) -> str:
    """Return a path without placeholders."""
    return path.replace("{file_path:path}", "index.html")


def test_every_route_is_in_the_table(served: Served) -> None:
    assert routes_of(served.app) == OPEN | ISSUER | GUARDED


def worthless(served: Served) -> dict[str, dict[str, str]]:
    """Return headers that prove nobody."""
    keys = ApiKeys(served.store)
    ended = keys.make(ASKERS[0], -1)
    revoked = keys.make(ASKERS[0], 1)
    keys.revoke(revoked[3:11])
    bearer = {"expired": ended, "revoked": revoked, "changed": served.keys["acme:anna"][:-1] + "_"}
    bearer |= {"unsigned": "eyJhbGciOiJub25lIn0.e30.", "of another kind": "x", "strange": "a,b"}
    headers = {name: {"authorization": f"Bearer {token}"} for name, token in bearer.items()}
    headers["basic"] = {"authorization": "Basic YW5uYTphbm5h"}
    headers["a cookie"] = {"cookie": "mark=x; __Host-mark=x", "sec-fetch-site": "same-origin"}
    return headers | {"none": {}, "a name": {"x-user": "anna", "x-forwarded-user": "anna"}}


@pytest.mark.parametrize(("method", "path"), sorted(GUARDED))
def test_every_route_needs_a_token(method: str, path: str, served: Served) -> None:
    for kind, headers in worthless(served).items():
        response = httpx.request(method, served.url + filled(path), headers=headers, json={"input": {}})
        assert response.status_code == 401, (kind, response.text)
        assert response.headers["www-authenticate"].startswith("Bearer")


def body_of(route: str, question: str, config: object) -> dict[str, Any]:
    asked = {"question": question}
    body: dict[str, Any] = {"inputs": [asked]} if route == "batch" else {"input": asked}
    return body if config is None else body | {"config": config}


def ask(
    served: Served, person: Caller, path: str, question: str, thread: str | None = None, config: Any = None
) -> httpx.Response:
    body = body_of(path.rpartition("/")[2], question, config)
    headers = served.headers(person, thread)
    return httpx.post(served.url + filled(path), json=body, headers=headers, timeout=60)


ROUTES = sorted(f"/qa/{name}" for name in ANSWERS)


@pytest.mark.parametrize("path", ROUTES)
def test_a_person_without_the_role_is_refused(path: str, served: Served) -> None:
    for person in (each for each in PEOPLE if not each.roles):
        body = body_of(path.rpartition("/")[2], QUESTION, None)
        url, text = served.url + filled(path), ""
        # A stream has begun by the time that a node refuses: an error is its last event.
        with (
            suppress(httpx.RemoteProtocolError),
            httpx.stream("POST", url, json=body, headers=served.headers(person)) as response,
        ):
            for piece in response.iter_text():
                text += piece
        assert response.status_code == 403 or "event: error" in text, text
        assert not figures(text) & set(SUM.values())


def figures(text: str) -> set[str]:
    """Return the sums in `text`; the ids of runs hold digits, too."""
    return set(re.findall(r"\d{5}", re.sub(UUID, "", text).replace(",", "")))


def others(person: Caller) -> set[str]:
    return set(SUM.values()) - {SUM[owner_of(person)]}


@pytest.mark.parametrize("path", ROUTES)
def test_no_route_reads_or_writes_what_is_anothers(path: str, served: Served) -> None:
    mine = f"t-{uuid4()}"
    for person in ASKERS:
        shown = figures(ask(served, person, "/qa/invoke", QUESTION, mine).text)
        assert SUM[owner_of(person)] in shown
        assert not shown & others(person)
    before = turns(served, mine)
    assert before == dict.fromkeys(map(owner_of, ASKERS), 1)
    for person in ASKERS:
        for owner in (each for each in ASKERS if each != person):
            for thread, config in attempts(owner, mine):
                response = ask(served, person, path, AGAIN, thread, config)
                assert not figures(response.text) & others(person), (thread, config)
    assert turns(served, mine) == before
    for person in ASKERS:
        assert SUM[owner_of(person)] in figures(ask(served, person, path, AGAIN, mine).text)
    assert turns(served, mine) == dict.fromkeys(map(owner_of, ASKERS), 2)


def attempts(owner: Caller, thread: str) -> Iterator[tuple[str | None, Any]]:
    """Yield the ways to name another's thread: in the header, and wherever a client may send an id."""
    key = thread_key(owner, f"qa:{thread}")
    for name in (key, f"../{owner.subject}/{thread}", f"{owner_of(owner)}:{thread}", quote(key, safe="")):
        yield name, None
    forged = {"subject": owner.subject, "tenant": owner.tenant, "roles": ["reader"], "clearance": 3}
    for configurable in ({"thread_id": key}, {"thread_id": key, "checkpoint_ns": ""}, {"caller": forged}):
        yield None, {"configurable": configurable, "metadata": {"thread_id": key}, "run_id": str(uuid4())}


def turns(served: Served, thread: str) -> dict[str, int]:
    """Return how many turns of each person's thread are kept."""

    def kept(person: Caller) -> int:
        config: Any = {"configurable": {"thread_id": thread_key(person, f"qa:{thread}")}}
        return len(served.graph.get_state(config).values["history"])

    return {owner_of(person): kept(person) for person in ASKERS}


def test_all_that_is_kept_is_kept_under_a_name_of_its_owner(served: Served) -> None:
    ask(served, ASKERS[0], "/qa/invoke", QUESTION, "other:ben:qa:t")
    saver: Any = served.graph.checkpointer
    owners = {key.rpartition(":")[0] for key in saver.storage}
    assert owners <= set(map(owner_of, ASKERS))
    assert thread_key(ASKERS[0], "qa:other:ben:qa:t") in saver.storage


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "%2e%2e/%2e%2e/setup.py", "//etc/passwd"])
def test_the_playground_hands_out_its_own_files_only(name: str, served: Served) -> None:
    url = f"{served.url}/qa/playground/{name}"
    response = httpx.get(url, headers=served.headers(ASKERS[0]))
    assert response.status_code == 404 or "playground" in response.text.lower()
    assert "root:" not in response.text


@pytest.mark.parametrize("name", ["%00", "assets", "assets/", "index.html/x", "a" * 400])
def test_what_is_no_file_of_the_playground_is_not_found(name: str, served: Served) -> None:
    url = f"{served.url}/qa/playground/{name}"
    assert httpx.get(url, headers=served.headers(ASKERS[0])).status_code == 404
    assert httpx.get(url).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/docs", "/redoc", "/qa/feedback", "/qa/token_feedback", "/qa/public_trace_link", "/qa/c/N4XyA/invoke"],
)
def test_routes_that_nobody_needs_are_not_there(path: str, served: Served) -> None:
    for method in ("GET", "POST", "HEAD", "PATCH"):
        response = httpx.request(method, served.url + path, headers=served.headers(ASKERS[0]))
        assert response.status_code in (404, 405)


def test_a_server_answers_to_its_own_names_only(served: Served) -> None:
    headers = served.headers(ASKERS[0]) | {"host": "evil.example"}
    assert httpx.get(f"{served.url}/qa/input_schema", headers=headers).status_code == 400


def test_two_tokens_are_none(served: Served) -> None:
    pair = [("authorization", f"Bearer {served.keys[owner]}") for owner in ("acme:anna", "other:anna")]
    assert httpx.get(f"{served.url}/qa/input_schema", headers=pair[:1]).status_code == 200
    assert httpx.get(f"{served.url}/qa/input_schema", headers=pair).status_code == 401


def test_a_token_in_the_address_does_not_count(served: Served) -> None:
    key = served.keys["acme:anna"]
    response = httpx.get(f"{served.url}/qa/input_schema", params={"access_token": key, "token": key})
    assert response.status_code == 401
