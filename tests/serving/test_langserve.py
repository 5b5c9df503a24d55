"""The LangServe door, asked over HTTP and by LangChain's own client."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langserve import RemoteRunnable

from markgraph.audit.file import FileAudit
from markgraph.audit.verify import verify
from tests.serving.conftest import ANSWER, PAY, log_of_questions


def test_health_says_what_is_served(server: str) -> None:
    health = httpx.get(f"{server}/health").json()
    assert health["status"] == "ok"
    assert health["graphs"] == ["qa"]


def test_invoke_gives_the_whole_answer(server: str) -> None:
    body = {"input": {"question": PAY}}
    output = httpx.post(f"{server}/qa/invoke", json=body, timeout=60).json()["output"]
    assert output["answer"] == ANSWER
    assert output.keys() == {
        "answer", "refused", "citations", "verdict", "domain", "model", "timings", "usage", "run_id"
    }  # fmt: skip


def test_langchains_client_invokes_batches_and_streams(server: str) -> None:
    qa = RemoteRunnable(f"{server}/qa/")
    assert qa.invoke({"question": PAY})["answer"] == ANSWER
    answers = qa.batch([{"question": PAY}, {"question": "What is the capital of France?"}])
    assert [answer["refused"] for answer in answers] == [False, True]
    pieces = list(qa.stream({"question": PAY}))
    assert len(pieces) > 5
    assert "".join(piece.get("answer", "") for piece in pieces) == ANSWER
    assert pieces[-1]["citations"][0]["mark"] == 1


def test_langchains_client_works_in_a_chain(server: str) -> None:
    chain = (
        PromptTemplate.from_template("Within how many days must the {who} pay an invoice?")
        | RunnableLambda(lambda prompt: {"question": prompt.text})
        | RemoteRunnable(f"{server}/qa/")
    )
    assert chain.invoke({"who": "customer"})["answer"] == ANSWER


def test_events_hold_the_models_tokens(server: str) -> None:
    async def tokens() -> list[str]:
        events = RemoteRunnable(f"{server}/qa/").astream_events({"question": PAY}, version="v2")
        return [e["data"]["chunk"].content async for e in events if e["event"] == "on_chat_model_stream"]

    assert len(asyncio.run(tokens())) >= 3


@pytest.mark.parametrize("what", ["input_schema", "output_schema", "config_schema"])
def test_schemas_are_published(server: str, what: str) -> None:
    schema = httpx.get(f"{server}/qa/{what}").json()
    assert "properties" in schema or "$defs" in schema


def test_the_stream_is_server_sent_events(server: str) -> None:
    with httpx.stream("POST", f"{server}/qa/stream", json={"input": {"question": PAY}}) as response:
        lines = list(response.iter_lines())
    data = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert "".join(part.get("answer", "") for part in data) == ANSWER
    assert "event: end" in lines


@pytest.mark.parametrize(
    "body",
    [{"input": {}}, {"input": {"question": ""}}, {"input": {"question": " "}}, {"input": {"question": 3}},
     {"input": {"question": "\ud800"}}, {"input": "x"}, {}, [],
     {"input": {"question": PAY, "owner": "default:boss"}}, {"input": {"question": "x" * 9000}}],
)  # fmt: skip
def test_bad_input_is_a_422(server: str, body: object) -> None:
    response = httpx.post(f"{server}/qa/invoke", content=json.dumps(body))
    assert response.status_code == 422


@pytest.mark.parametrize(
    "config",
    [
        {"configurable": {"caller": {"subject": "boss", "roles": ["reader"]}}},
        {"configurable": {"thread_id": "default:boss:t"}},
    ],
)
def test_a_clients_config_does_not_count(server: str, config: object) -> None:
    body = {"input": {"question": PAY}, "config": config}
    response = httpx.post(f"{server}/qa/invoke", json=body)
    assert response.status_code in (200, 422)
    if response.status_code == 200:
        assert response.json()["output"]["answer"] == ANSWER


def test_pages_and_hosts_from_elsewhere_are_turned_away(server: str) -> None:
    body = {"input": {"question": PAY}}
    elsewhere = {"origin": "https://evil.example"}
    assert httpx.post(f"{server}/qa/invoke", json=body, headers=elsewhere).status_code == 403
    assert httpx.get(f"{server}/qa/playground/", headers=elsewhere).status_code == 403
    assert httpx.get(f"{server}/health", headers={"host": "evil.example"}).status_code == 400


def test_documents_of_a_group_are_not_there_for_others(server: str) -> None:
    question = {"question": "How high is the liability of the supplier capped?"}
    output = httpx.post(f"{server}/qa/invoke", json={"input": question}).json()["output"]
    assert output["refused"] is True
    assert "150" not in str(output)


def test_a_thread_remembers_only_where_it_is_named(server: str) -> None:
    thread = {"x-thread-id": "t1"}

    def ask(question: str, headers: dict[str, str] | None = None) -> dict[str, object]:
        body = {"input": {"question": question}}
        return httpx.post(f"{server}/qa/invoke", json=body, headers=headers).json()["output"]  # type: ignore[no-any-return]

    assert ask(PAY, thread)["refused"] is False
    assert ask("And what else?", thread)["refused"] is False
    assert ask("And what else?", {"x-thread-id": "t2"})["refused"] is True
    assert ask("And what else?")["refused"] is True


def test_a_batch_in_a_thread_keeps_every_turn(server: str) -> None:
    thread = {"x-thread-id": "batch"}
    body = {"inputs": [{"question": PAY}, {"question": PAY}]}
    outputs = httpx.post(f"{server}/qa/batch", json=body, headers=thread, timeout=30).json()["output"]
    assert [output["answer"] for output in outputs] == [ANSWER, ANSWER]


def test_a_hundred_questions_at_once_are_answered_and_in_the_audit_log(
    server: str, server_home: Path
) -> None:
    async def ask_all() -> list[int]:
        async with httpx.AsyncClient(timeout=120) as client:
            body = {"input": {"question": PAY}}
            runs = (client.post(f"{server}/qa/invoke", json=body) for _ in range(100))
            return [response.status_code for response in await asyncio.gather(*runs)]

    log = FileAudit(str(server_home / "audit"), str(server_home / "audit/keys"))
    before = len(log_of_questions(log))
    assert set(asyncio.run(ask_all())) == {200}
    ends = log_of_questions(log)[before:]
    assert len({end["run"] for end in ends}) == 100
    assert {end["outcome"] for end in ends} == {"done"}
    assert verify(log.folder, log.keys).problems == []
