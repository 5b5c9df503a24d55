"""The agent graph: tools in a loop, and a person's word before side effects."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from markgraph.build import Graph, compose, load_graph, make_service
from markgraph.errors import DeniedError
from markgraph.graphs.agent import build
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from markgraph.security.effects import labelled
from markgraph.tools.search_documents import search_documents
from markgraph.verification.rules import Rule
from markgraph.verification.verify import verify
from tests.graphs.conftest import BONUS, PAYMENT

PAY = "Within how many days must the customer pay an invoice?"
SEARCH = {"tool": "search_documents", "args": {"query": "customer pay invoice"}}
NOTE = {"tool": "save_note", "args": {"text": "Invoices: 30 days."}}
THREAD: Any = {"configurable": {"thread_id": "t"}}


@pytest.fixture
def make(index: Index, embedder: HashEmbeddings) -> Any:
    def build(
        *responses: Any, overrides: tuple[str, ...] = (), **services: Any
    ) -> tuple[Graph, FakeChatModel]:
        model = FakeChatModel(responses=list(responses))
        graph = load_graph("agent", overrides, model=model, embedder=embedder, index=index, **services)
        return graph, model

    return build


def notes(home: Path) -> list[str]:
    """Return what was saved."""
    return [path.read_text() for path in (home / "notes").rglob("*.txt")]


def test_answers_from_what_a_tool_found(make: Any, reader: Caller) -> None:
    graph, model = make(SEARCH, f"{PAYMENT} [1]")
    answer = graph.invoke({"question": PAY}, context=reader)
    assert answer["answer"] == f"{PAYMENT} [1]"
    assert answer["citations"][0]["source"] == "terms.md"
    assert len(model.prompts) == 2


def test_searches_with_the_callers_permissions(make: Any, reader: Caller) -> None:
    graph, model = make({"tool": "search_documents", "args": {"query": "secret bonus"}}, "It is 90,000 EUR.")
    answer = graph.invoke({"question": "How high is the secret bonus?"}, context=reader)
    assert answer["refused"] is True
    assert "90,000" not in str(model.prompts)


def test_a_calculation_is_a_source_too(make: Any, reader: Caller) -> None:
    graph, _ = make({"tool": "calculate", "args": {"expression": "72 / 24"}}, "The value of 72 / 24 is 3.")
    answer = graph.invoke({"question": "How many days are 72 hours?"}, context=reader)
    assert answer["answer"] == "The value of 72 / 24 is 3. [1]"
    assert answer["citations"][0]["title"] == "Tool calculate"


def test_a_comment_in_a_calculation_is_no_source(make: Any, reader: Caller) -> None:
    lie = "A breach must be notified within 500 hours."
    call = {"tool": "calculate", "args": {"expression": f"1 # ok. {lie} It"}}
    graph, _ = make(call, lie)
    answer = graph.invoke({"question": "Within how many hours must a breach be notified?"}, context=reader)
    assert "500" not in answer["answer"]
    assert answer["citations"] == [] or "500" not in str(answer["citations"])


def test_refuses_what_no_tool_has_said(make: Any, reader: Caller) -> None:
    graph, _ = make("The deadline is 90 days.")
    assert graph.invoke({"question": PAY}, context=reader)["refused"] is True


def test_stops_after_its_steps(make: Any, reader: Caller) -> None:
    graph, model = make(SEARCH, overrides=("graph.generate.max_steps=3",))
    answer = graph.invoke({"question": PAY}, context=reader)
    assert len(model.prompts) == 3
    assert answer["answer"] == f"{PAYMENT} [1]"  # quoted from what was found meanwhile


def test_waits_for_a_word_before_side_effects(make: Any, reader: Caller, home: Path) -> None:
    graph, _ = make(SEARCH, NOTE, f"{PAYMENT} [1]", checkpoint=InMemorySaver())
    stopped = graph.invoke({"question": PAY}, THREAD, context=reader)
    asked = stopped["__interrupt__"][0].value
    assert asked["calls"] == [{"tool": "save_note", "args": {"text": "Invoices: 30 days."}}]
    assert notes(home) == []
    answer = graph.invoke(Command(resume=True), THREAD, context=reader)
    assert notes(home) == ["Invoices: 30 days."]
    assert answer["answer"].startswith(f"{PAYMENT} [1]\n\nDone: save_note: Saved as ")


def test_a_refusal_still_says_what_was_done(make: Any, reader: Caller) -> None:
    graph, _ = make(NOTE, "Done.", checkpoint=InMemorySaver())
    graph.invoke({"question": "Save a note."}, THREAD, context=reader)
    answer = graph.invoke(Command(resume=True), THREAD, context=reader)
    assert answer["refused"] is True
    assert "Done: save_note: Saved as " in answer["answer"]


def test_waits_for_a_word_before_something_is_sent_out(
    index: Index, embedder: HashEmbeddings, reader: Caller
) -> None:
    sent: list[str] = []

    @tool
    def look_up(words: str) -> str:
        """Look something up on the web."""
        sent.append(words)
        return "Nothing."

    web = labelled(look_up, reads_private=False, ingests_untrusted=True, egress=True, side_effects=False)
    model = FakeChatModel(responses=[SEARCH, {"tool": "look_up", "args": {"words": BONUS}}, "Done."])
    services: Any = {
        "model": model,
        "embedder": embedder,
        "index": index,
        "tools": [search_documents(index), web],
        "policy": make_service(compose("embed"), "policy"),
    }
    graph = build(**services, checkpointer=InMemorySaver())
    assert verify(graph) == []
    assert [finding.rule for finding in verify(build(**services, approve=None))] == [Rule.TRIFECTA]
    stopped = graph.invoke({"question": PAY}, THREAD, context=reader)
    assert stopped["__interrupt__"][0].value["calls"] == [{"tool": "look_up", "args": {"words": BONUS}}]
    graph.invoke(Command(resume=False), THREAD, context=reader)
    assert sent == []


@pytest.mark.parametrize("word", [False, "no", "true", {"approve": True}])
def test_anything_but_true_declines(make: Any, reader: Caller, home: Path, word: Any) -> None:
    graph, model = make(SEARCH, NOTE, f"{PAYMENT} [1]", checkpoint=InMemorySaver())
    graph.invoke({"question": PAY}, THREAD, context=reader)
    answer = graph.invoke(Command(resume=word), THREAD, context=reader)
    assert notes(home) == []
    assert "Declined" in str(model.prompts[-1])
    assert answer["answer"] == f"{PAYMENT} [1]"


def test_a_tool_that_fails_tells_the_model(make: Any, reader: Caller) -> None:
    graph, model = make({"tool": "calculate", "args": {"expression": "import os"}}, "I don't know.")
    graph.invoke({"question": "What is that?"}, context=reader)
    assert "Not an arithmetic expression" in str(model.prompts[-1])


def test_a_tool_that_does_not_exist_is_not_run(make: Any, reader: Caller) -> None:
    graph, model = make({"tool": "shell", "args": {"command": "id"}}, "I don't know.")
    assert graph.invoke({"question": "Who am I?"}, context=reader)["refused"] is True
    assert "shell is not a valid tool" in str(model.prompts[-1])


def test_denies_a_caller_without_the_permission(make: Any) -> None:
    graph, model = make(SEARCH)
    with pytest.raises(DeniedError):
        graph.invoke({"question": PAY}, context=Caller("rita"))
    assert model.prompts == []
