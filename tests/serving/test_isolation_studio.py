"""LangGraph Server with the door of auth=dev: nobody reaches another's threads, runs, or store by any route.

The table holds every route that the installed server has; one that is new has to be added here.
"""

import ast
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import uuid4

import httpx
import pytest

from markgraph.security.caller import Caller
from markgraph.security.tokens.api_keys import ApiKeys
from markgraph.security.tokens.store import AuthStore
from tests.serving.conftest import LANGGRAPH, langgraph_server
from tests.serving.langgraph_routes import EVENTS, EVERYBODYS, ITEM, LIVE, NOBODYS, REFUSED, RUN

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not LANGGRAPH.exists(), reason="needs the extra [studio]")]

LIABILITY = {"question": "How high is the liability of the supplier capped?"}
SECONDS = 4.0
SECRET = "a note of anna's"
OWNER = Caller("anna", ["reader"], "default", ["legal"])
HERSELF = "herself, with fewer rights"
INTRUDERS = {
    "a colleague": Caller("ben", ["reader"], "default"),
    "a namesake of another tenant": Caller("anna", ["reader"], "other", ["legal"]),
    "a colleague without a role": Caller("carl", [], "default", ["legal"]),
    HERSELF: Caller("anna", ["reader"], "default"),
}


@dataclass(frozen=True)
class Scene:
    """A server, keys, and what its owner has there."""

    url: str
    keys: dict[str, str]
    owner: str
    ids: dict[str, str]

    def request(self, key: str | None, method: str, path: str, body: Any = None) -> httpx.Response:
        for name, value in self.ids.items():
            path = path.replace(f"{{{name}}}", value)
            body = None if body is None else json.loads(json.dumps(body).replace(f"{{{name}}}", value))
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        options = {} if body is None else {"json": body}
        return httpx.request(method, self.url + path, headers=headers, timeout=60, **options)  # type: ignore[arg-type]

    def own(self, method: str, path: str, body: Any = None) -> Any:
        response = self.request(self.owner, method, path, body)
        assert response.is_success, response.text
        return response.json() if response.content else None


@pytest.fixture(scope="module")
def scene(server_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("isolation")
    keys = ApiKeys(AuthStore(str(server_home / "auth.sqlite")))
    made = {name: keys.make(caller, 1) for name, caller in INTRUDERS.items()}
    with langgraph_server(server_home, folder, "auth=dev auth.attempts=null") as url:
        scene = Scene(url, made, keys.make(OWNER, 1), {})
        thread = scene.own("POST", "/threads", {})["thread_id"]
        answer = scene.own("POST", f"/threads/{thread}/runs/wait", {**RUN, "input": LIABILITY})
        assert "150 %" in answer["answer"]
        scene.own("PUT", "/store/items", {**ITEM, "value": {"text": SECRET}})
        run = scene.own("GET", f"/threads/{thread}/runs")[0]["run_id"]
        checkpoint = scene.own("GET", f"/threads/{thread}/state")["checkpoint"]["checkpoint_id"]
        assistant = scene.own("POST", "/assistants/search", {"graph_id": "qa"})[0]["assistant_id"]
        ids = {"thread_id": thread, "run_id": run, "checkpoint_id": checkpoint, "assistant_id": assistant}
        ids |= {"cron_id": str(uuid4()), "graph_id": "qa", "namespace": "x"}
        yield Scene(url, made, scene.owner, ids)


def routes_of_the_server() -> set[tuple[str, str]]:
    """Return the method and the path of each route in the server's source; WS for a socket."""
    spec = find_spec("langgraph_api")
    assert spec
    assert spec.submodule_search_locations
    found = set()
    for file in (Path(spec.submodule_search_locations[0]) / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Route") and node.args:
                path = ast.literal_eval(node.args[0])
                methods = [word.value for word in node.keywords if word.arg == "methods"]
                found |= {(method, path) for method in (ast.literal_eval(methods[0]) if methods else ["WS"])}
    return found


def test_every_route_is_in_the_table() -> None:
    assert routes_of_the_server() == NOBODYS | EVERYBODYS.keys() | REFUSED.keys() | LIVE


def test_every_route_needs_a_token(scene: Scene) -> None:
    for method, path in sorted(NOBODYS | EVERYBODYS.keys() | REFUSED.keys() | {("POST", EVENTS)}):
        body = (EVERYBODYS | REFUSED).get((method, path))
        for key in (None, "mk_aaaaaaaa_" + "b" * 43, "eyJhbGciOiJub25lIn0.e30."):
            status = scene.request(key, method, path, body).status_code
            assert status in (401, 404, 405) or path in ("/", "/ok"), (method, path, status)
            assert status == 401 or (method, path) in NOBODYS, (method, path, status)


def test_the_header_of_studio_opens_nothing(scene: Scene) -> None:
    for origin in ("https://smith.langchain.com", "https://evil.example"):
        headers = {"x-auth-scheme": "langsmith", "origin": origin}
        assert httpx.post(f"{scene.url}/threads", json={}, headers=headers).status_code == 401


def leaks(scene: Scene, text: str) -> list[str]:
    """Return what a text has of the owner's."""
    hers = [scene.ids["run_id"], scene.ids["checkpoint_id"], "150 %", SECRET]
    return [each for each in hers if each in text]


@pytest.mark.parametrize("who", INTRUDERS)
def test_no_route_shows_or_changes_what_is_anothers(who: str, scene: Scene) -> None:
    before = hers(scene)
    for (method, path), body in (EVERYBODYS | REFUSED).items():
        if who == HERSELF and path.startswith("/store"):
            continue  # it is hers whatever her rights are
        response = scene.request(scene.keys[who], method, path, body)
        if (method, path) in REFUSED:
            # Some routes say only in the body what went wrong.
            refused = response.is_client_error or response.text.startswith(
                ('{"type":"error"', "event: error")
            )
            assert refused, (method, path, response.status_code, response.text)
        assert not (set(leaks(scene, response.text)) - named(body, path, scene)), (
            method,
            path,
            response.text,
        )
        assert response.status_code < 500, (method, path, response.text)
    assert hers(scene) == before


def named(body: Any, path: str, scene: Scene) -> set[str]:
    """Return the ids that the request itself names: an error may repeat them."""
    text = json.dumps(body) + path
    return {value for name, value in scene.ids.items() if f"{{{name}}}" in text}


def hers(scene: Scene) -> Any:
    """Return all that the owner has: her threads, their history, their runs, and her notes."""
    threads = scene.own("POST", "/threads/search", {})
    return [
        threads,
        scene.own("GET", "/threads/{thread_id}/history"),
        scene.own("GET", "/threads/{thread_id}/runs"),
        scene.own("POST", "/store/items/search", {"namespace_prefix": []})["items"][0]["value"],
    ]


@pytest.mark.parametrize("who", INTRUDERS)
def test_a_run_of_ones_own_cannot_go_on_with_anothers_thread(who: str, scene: Scene) -> None:
    before, key, thread = hers(scene), scene.keys[who], scene.ids["thread_id"]
    made = scene.request(key, "POST", "/threads", {}).json()
    # Who may have no thread at all has none of their own either.
    places = ["/runs/wait", "/runs/stream"]
    places += [f"/threads/{made['thread_id']}/runs/wait"] if "thread_id" in made else []
    hints: list[dict[str, Any]] = [
        {"config": {"configurable": {"thread_id": thread}}},
        {"config": {"configurable": {"thread_id": thread, "checkpoint_id": scene.ids["checkpoint_id"]}}},
        {"checkpoint": {"thread_id": thread, "checkpoint_id": scene.ids["checkpoint_id"]}},
        {"checkpoint_id": scene.ids["checkpoint_id"]},
        {"metadata": {"owner": "default:anna", "thread_id": thread}},
        {"context": {"subject": "anna", "tenant": "default", "roles": ["reader"]}},
        {"config": {"configurable": {"langgraph_auth_user": {"identity": "anna", "tenant": "default"}}}},
        {"config": {"configurable": {"langgraph_auth_user_id": "anna"}}},
    ]
    for place in places:
        for hint in hints:
            response = scene.request(key, "POST", place, {**RUN, **hint})
            assert not {"150 %", SECRET} & set(leaks(scene, response.text)), (place, hint, response.text)
    assert hers(scene) == before


@pytest.mark.parametrize("steering", [{"update": {"answer": "forged"}}, {"goto": "respond"}])
def test_not_even_its_owner_steers_a_thread_past_a_node(steering: dict[str, Any], scene: Scene) -> None:
    before = hers(scene)
    respond = {"namespace": [], "interrupt_id": "x", "response": "yes", "assistant_id": "qa", **steering}
    command = {"id": 1, "method": "input.respond", "params": respond}
    answers = [
        scene.request(scene.owner, "POST", "/threads/{thread_id}/commands", command),
        scene.request(scene.owner, "POST", "/threads/{thread_id}/runs/wait", {**RUN, "command": steering}),
        scene.request(scene.owner, "POST", "/threads/{thread_id}/runs/wait", {**RUN, "webhook": "http://x"}),
        scene.request(scene.owner, "POST", "/runs", {**RUN, "config": {"configurable": {"caller": "boss"}}}),
        scene.request(scene.owner, "POST", "/threads/{thread_id}/state", {"values": {"answer": "forged"}}),
    ]
    for answer in answers:
        assert answer.status_code in (403, 422) or answer.json()["type"] == "error", answer.text
    assert "not allowed" in answers[1].text
    assert hers(scene) == before


def test_nobody_can_take_a_thread_by_its_id(scene: Scene) -> None:
    for key in scene.keys.values():
        for policy in ("raise", "do_nothing"):
            body = {"thread_id": scene.ids["thread_id"], "if_exists": policy, "metadata": {"mine": "yes"}}
            response = scene.request(key, "POST", "/threads", body)
            assert response.is_client_error, response.text


def test_nobody_names_anothers_namespace(scene: Scene) -> None:
    whole = {"namespace_prefix": []}
    assert SECRET in scene.request(scene.owner, "POST", "/store/items/search", whole).text
    for key in (key for who, key in scene.keys.items() if who != HERSELF):
        for namespace in (["default:anna"], ["default:anna", "notes"], ["other:anna"], []):
            found = scene.request(key, "POST", "/store/items/search", {"namespace_prefix": namespace})
            assert SECRET not in found.text
        for path in ("default:anna.notes", "notes"):
            got = scene.request(key, "GET", f"/store/items?key=k&namespace={path}")
            assert SECRET not in got.text


def listen_over_http(url: str, headers: dict[str, str]) -> str:
    """Return what a stream of events shows within some seconds."""
    shown, until = "", time.monotonic() + SECONDS
    with (
        suppress(httpx.TimeoutException),
        httpx.stream(
            "POST", url, headers=headers, json={"channels": ["values", "updates"]}, timeout=SECONDS
        ) as response,
    ):
        for line in response.iter_lines():
            shown += line
            if time.monotonic() > until or leaked(shown):
                break
    return shown


def listen_over_a_socket(url: str, headers: dict[str, str]) -> str:
    """Return what a socket shows within some seconds."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    shown, until = "", time.monotonic() + SECONDS
    subscribe = {"id": 1, "method": "subscription.subscribe", "params": {"channels": ["values", "updates"]}}
    with (
        suppress(WebSocketException, TimeoutError),
        connect(f"ws{url.removeprefix('http')}", additional_headers=headers) as socket,
    ):
        socket.send(json.dumps(subscribe))
        while time.monotonic() < until and not leaked(shown):
            shown += str(socket.recv(timeout=SECONDS))
    return shown


def leaked(text: str) -> bool:
    return "150 %" in text


@pytest.mark.parametrize("who", ["the owner", "nobody", *INTRUDERS])
@pytest.mark.parametrize("listen", [listen_over_http, listen_over_a_socket])
def test_only_its_owner_hears_what_goes_on_in_a_thread(
    listen: Callable[[str, dict[str, str]], str], who: str, scene: Scene
) -> None:
    thread = scene.own("POST", "/threads", {})["thread_id"]
    key = {"the owner": scene.owner, **scene.keys}.get(who)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": "qa", "input": LIABILITY}}
    run = Timer(1, scene.own, ("POST", f"/threads/{thread}/commands", start))
    run.start()
    shown = listen(scene.url + EVENTS.replace("{thread_id}", thread), headers)
    run.join()
    assert leaked(shown) == (who == "the owner"), shown
