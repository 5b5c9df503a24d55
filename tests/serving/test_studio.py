"""LangGraph Studio's server, asked by LangGraph's own client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from markgraph.audit.file import FileAudit
from tests.serving.conftest import ANSWER, LANGGRAPH, PAY, langgraph_server, log_of_questions

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not LANGGRAPH.exists(), reason="needs the extra [studio]")]


@pytest.fixture(scope="module")
def studio(server_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with langgraph_server(
        server_home, tmp_path_factory.mktemp("studio"), "auth.caller.groups=[legal]"
    ) as url:
        yield url


@pytest.fixture(scope="module")
def client(studio: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=studio, api_key=None) as client:
        yield client


def ask(client: SyncLangGraphClient, thread: str | None, graph: str = "qa", **options: Any) -> Any:
    return client.runs.wait(thread, graph, input={"question": PAY}, **options)


def test_serves_all_graphs_and_trains_nothing_unasked(client: SyncLangGraphClient) -> None:
    assert {assistant["graph_id"] for assistant in client.assistants.search()} == {"qa", "agent", "train"}
    ended: Any = client.runs.wait(None, "train", input={"run": "r"}, raise_error=False)
    assert "This server trains nothing." in ended["__error__"]["message"]


def test_answers_without_and_within_a_thread(client: SyncLangGraphClient) -> None:
    assert ask(client, None)["answer"] == ANSWER
    thread = client.threads.create()["thread_id"]
    assert ask(client, thread)["answer"] == ANSWER
    follow_up = client.runs.wait(thread, "qa", input={"question": "And what else?"})
    assert follow_up["answer"] == ANSWER


def test_a_run_is_in_the_audit_log(client: SyncLangGraphClient, server_home: Path) -> None:
    log = FileAudit(str(server_home / "audit"), str(server_home / "audit/keys"))
    before = log_of_questions(log)
    ask(client, None)
    (end,) = log_of_questions(log)[len(before) :]
    assert (end["actor"], end["outcome"], end["question"]) == ("local", "done", log.sealed(PAY))


def test_the_callers_groups_come_along(client: SyncLangGraphClient) -> None:
    answer = client.runs.wait(
        None, "qa", input={"question": "How high is the liability of the supplier capped?"}
    )
    assert "150 %" in answer["answer"]


def test_a_client_cannot_make_itself_somebody_else(client: SyncLangGraphClient) -> None:
    forged = {"subject": "boss", "roles": ["reader"]}
    for options in ({"context": forged}, {"config": {"configurable": {"caller": forged}}}):
        with pytest.raises(httpx.HTTPStatusError, match="Unknown configurable keys"):
            ask(client, None, **options)


def test_state_is_written_by_nodes_only(client: SyncLangGraphClient) -> None:
    thread = client.threads.create()["thread_id"]
    ask(client, thread)
    with pytest.raises(httpx.HTTPStatusError, match="Forbidden"):
        client.threads.update_state(thread, {"answer": "forged"})
    for command in ({"goto": "respond"}, {"update": {"answer": "forged"}}):
        with pytest.raises(httpx.HTTPStatusError, match="not allowed"):
            client.runs.wait(thread, "qa", command=command)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/info", "/docs", "/openapi.json", "/metrics", "/mcp/"])
def test_routes_that_nobody_needs_are_closed(studio: str, path: str) -> None:
    assert httpx.get(f"{studio}{path}").status_code in (401, 403, 404, 405)


def test_the_studio_header_opens_nothing_for_other_sites(studio: str) -> None:
    headers = {"x-auth-scheme": "langsmith", "origin": "https://evil.example"}
    assert httpx.post(f"{studio}/threads", json={}, headers=headers).status_code in (401, 403)
    page = {"origin": "https://smith.langchain.com"}
    assert httpx.post(f"{studio}/threads", json={}, headers=page).status_code == 200


def test_the_store_is_ones_own(studio: str) -> None:
    item = {"namespace": ["notes"], "key": "k", "value": {"text": "hello"}}
    assert httpx.put(f"{studio}/store/items", json=item).status_code == 204
    found = httpx.post(f"{studio}/store/items/search", json={"namespace_prefix": []}).json()["items"]
    assert [each["namespace"] for each in found] == [["default:local", "notes"]]
