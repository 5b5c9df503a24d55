"""A run that goes on later goes on for the same person, with what they may do now."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from markgraph.build import Graph, load_graph
from markgraph.errors import DeniedError
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from tests.graphs.conftest import LIABILITY

ALICE = Caller("alice", ("reader",), groups=("legal",))
QUESTION = "The supplier's liability under this contract is capped at how many % of the yearly fees?"
NOTE = {"tool": "save_note", "args": {"text": "hello"}}
THREAD: Any = {"configurable": {"thread_id": "t"}}
OTHERS = [
    Caller("mallory", ("reader",), groups=("legal",)),
    Caller("alice", ("reader",)),
    Caller("alice", (), groups=("legal",)),
    Caller("alice", ("reader",), tenant="other", groups=("legal",)),
    None,
]


class Dying(FakeChatModel):
    """Dies when it is asked for the first time."""

    def _next(self, messages: Any) -> Any:
        first = not self.prompts
        response = super()._next(messages)
        if first:
            raise KeyboardInterrupt
        return response


def build(name: str, index: Index, model: FakeChatModel) -> Graph:
    return load_graph(name, model=model, embedder=HashEmbeddings(), index=index, checkpoint=InMemorySaver())


@pytest.mark.parametrize("other", OTHERS)
def test_nobody_goes_on_with_a_run_they_could_not_have_begun(index: Index, other: Caller | None) -> None:
    graph = build("qa", index, Dying(responses=[f"{LIABILITY} [1]"]))
    with pytest.raises(KeyboardInterrupt):
        graph.invoke({"question": QUESTION}, THREAD, context=ALICE, durability="sync")
    with pytest.raises(DeniedError):
        graph.invoke(None, THREAD, context=other)
    assert "150 %" in graph.invoke(None, THREAD, context=ALICE)["answer"]


@pytest.mark.parametrize("other", OTHERS)
def test_nobody_gives_their_word_for_somebody_else(index: Index, other: Caller | None, home: Any) -> None:
    graph = build("agent", index, FakeChatModel(responses=[NOTE, "Done."]))
    graph.invoke({"question": "Save a note."}, THREAD, context=ALICE)
    with pytest.raises(DeniedError):
        graph.invoke(Command(resume=True), THREAD, context=other)
    assert not list(home.rglob("*.txt"))


def withdraw(index: Index, how: str) -> None:
    [chunk] = [chunk for chunk in index.scan() if chunk.text == LIABILITY]
    if how == "removed":
        index.remove([chunk.id])
    else:
        index.permit([chunk.id], replace(chunk.permissions, readers=("g:board",)))


@pytest.mark.parametrize("how", ["removed", "narrowed"])
@pytest.mark.parametrize("stage", ["generate", "validate"])
def test_a_run_does_not_go_on_with_what_was_withdrawn(index: Index, how: str, stage: str) -> None:
    model = FakeChatModel(responses=[f"{LIABILITY} [1]"])
    graph = build("qa", index, model)
    graph.invoke({"question": QUESTION}, THREAD, context=ALICE, interrupt_before=[stage])
    withdraw(index, how)
    with pytest.raises(DeniedError, match="Ask the question again"):
        graph.invoke(None, THREAD, context=ALICE)
    again = graph.invoke({"question": QUESTION}, THREAD, context=ALICE)
    assert again["refused"] is True
    assert "150 %" not in str(again)


def test_a_run_does_not_go_on_with_what_was_withdrawn_where_events_are_awaited(index: Index) -> None:
    graph = build("qa", index, FakeChatModel(responses=[f"{LIABILITY} [1]"]))

    async def run() -> None:
        await graph.ainvoke({"question": QUESTION}, THREAD, context=ALICE, interrupt_before=["generate"])
        withdraw(index, "removed")
        with pytest.raises(DeniedError, match="Ask the question again"):
            await graph.ainvoke(None, THREAD, context=ALICE)

    asyncio.run(run())


@pytest.mark.parametrize("word", [True, False])
@pytest.mark.parametrize("how", ["removed", "narrowed"])
def test_an_agent_that_waited_does_not_go_on_with_what_was_withdrawn(
    index: Index, home: Any, how: str, word: bool
) -> None:
    search = {"tool": "search_documents", "args": {"query": QUESTION}}
    model = FakeChatModel(responses=[search, NOTE, f"{LIABILITY} [1]"])
    graph = build("agent", index, model)
    graph.invoke({"question": QUESTION}, THREAD, context=ALICE)
    withdraw(index, how)
    with pytest.raises(DeniedError, match="Ask the question again"):
        graph.invoke(Command(resume=word), THREAD, context=ALICE)
    assert len(model.prompts) == 2
    assert not list(home.rglob("*.txt"))


@pytest.mark.parametrize("how", ["removed", "narrowed"])
def test_a_later_turn_does_not_see_an_answer_from_what_was_withdrawn(index: Index, how: str) -> None:
    model = FakeChatModel(responses=[f"{LIABILITY} [1]"])
    graph = build("qa", index, model)
    payment = "Within how many days must the customer pay an invoice?"
    assert "150 %" in graph.invoke({"question": QUESTION}, THREAD, context=ALICE)["answer"]
    graph.invoke({"question": payment}, THREAD, context=ALICE, interrupt_before=["generate"])
    assert graph.get_state(THREAD).values["recent"]
    withdraw(index, how)
    with pytest.raises(DeniedError):  # `recent` was chosen before
        graph.invoke(None, THREAD, context=ALICE)
    answer = graph.invoke({"question": payment}, THREAD, context=ALICE)
    assert not any("150 %" in message.text for message in model.prompts[-1])
    assert "150 %" not in str(answer["answer"])


def test_a_summary_does_not_outlive_the_stage_that_wrote_it(index: Index) -> None:
    checkpoint, model = InMemorySaver(), FakeChatModel(responses=[f"{LIABILITY} [1]"])
    services: Any = {"model": model, "embedder": HashEmbeddings(), "index": index, "checkpoint": checkpoint}
    graph = load_graph("qa", ["graph.compress.max_tokens=200"], **services)
    for _ in range(6):
        graph.invoke({"question": QUESTION}, THREAD, context=ALICE)
    assert "150 %" in graph.get_state(THREAD).values["summary"]
    without = load_graph("qa", ["graph.compress=null"], **services)
    payment = "Within how many days must the customer pay an invoice?"
    without.invoke({"question": payment}, THREAD, context=Caller("alice", ("reader",)))
    assert not any("150 %" in message.text for message in model.prompts[-1])


def test_more_permissions_than_before_are_no_obstacle(index: Index) -> None:
    graph = build("qa", index, Dying(responses=[f"{LIABILITY} [1]"]))
    with pytest.raises(KeyboardInterrupt):
        graph.invoke({"question": QUESTION}, THREAD, context=ALICE, durability="sync")
    more = Caller("alice", ("reader", "writer"), groups=("legal", "sales"))
    assert "150 %" in graph.invoke(None, THREAD, context=more)["answer"]


def test_a_new_turn_of_the_agent_does_not_see_what_tools_found_before(index: Index) -> None:
    search = {"tool": "search_documents", "args": {"query": QUESTION}}
    model = FakeChatModel(responses=[search, f"{LIABILITY} [1]", "I don't know."])
    graph = build("agent", index, model)
    assert "150 %" in graph.invoke({"question": QUESTION}, THREAD, context=ALICE)["answer"]
    demoted = Caller("alice", ("reader",))
    second = graph.invoke({"question": "And what else?"}, THREAD, context=demoted)
    assert second["refused"] is True
    assert "150 %" not in str(model.prompts[-1])


def test_a_run_that_waits_shows_no_answer_of_the_turn_before(index: Index) -> None:
    search = {"tool": "search_documents", "args": {"query": QUESTION}}
    graph = build("agent", index, FakeChatModel(responses=[search, f"{LIABILITY} [1]", NOTE]))
    graph.invoke({"question": QUESTION}, THREAD, context=ALICE)
    waiting = graph.invoke({"question": "Save a note."}, THREAD, context=ALICE)
    assert (waiting["answer"], waiting["citations"]) == ("", [])


def test_a_later_turn_does_not_see_an_answer_that_its_caller_may_not_read_any_more(index: Index) -> None:
    model = FakeChatModel(responses=[f"{LIABILITY} [1]"])
    graph = build("qa", index, model)
    assert "150 %" in graph.invoke({"question": QUESTION}, THREAD, context=ALICE)["answer"]
    payment = "Within how many days must the customer pay an invoice?"
    graph.invoke({"question": payment}, THREAD, context=ALICE)
    assert "150 %" in str(model.prompts[-1])  # what she may read, she is reminded of
    graph.invoke({"question": payment}, THREAD, context=Caller("alice", ("reader",)))
    assert not any("150 %" in message.text for message in model.prompts[-1])
