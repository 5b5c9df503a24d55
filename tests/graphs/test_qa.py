"""The question-answering graph, run as an importing app would run it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from markgraph.build import Graph, load_graph
from markgraph.errors import DeniedError, EmptyIndexError, UsageError
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from tests.graphs.conftest import BONUS, PAYMENT

PAY = "Within how many days must the customer pay an invoice?"
GOOD = f"{PAYMENT} [1]"
BAD = "The customer shall pay each invoice within 90 days of receipt. [1]"


class Setup:
    """Builds graphs over the collection with a model that says what a test wants."""

    def __init__(self, index: Index, embedder: HashEmbeddings) -> None:
        self.index, self.embedder = index, embedder
        self.model = FakeChatModel()

    def __call__(self, *responses: str, overrides: tuple[str, ...] = (), **services: Any) -> Graph:
        self.model = FakeChatModel(responses=list(responses) or ["I don't know."])
        shared = {"model": self.model, "embedder": self.embedder, "index": self.index}
        return load_graph("qa", ["domain=none", *overrides], **shared | services)


@pytest.fixture
def setup(index: Index, embedder: HashEmbeddings) -> Setup:
    return Setup(index, embedder)


def test_answers_with_a_mark_for_each_sentence(setup: Setup, reader: Caller) -> None:
    answer = setup(GOOD).invoke({"question": PAY}, context=reader)
    assert answer["answer"] == f"{PAYMENT} [1]"
    assert answer["refused"] is False
    assert answer["citations"] == [
        {
            "mark": 1,
            "source": "terms.md",
            "title": "terms.md",
            "quote": PAYMENT,
            "start": 100,
            "end": 100 + len(PAYMENT),
            "page": 2,
        }
    ]
    assert answer["verdict"]["grounded"] is True
    assert answer["model"] == "fake"
    assert answer["usage"]["output_tokens"] == len(GOOD.split())
    assert {"authorize", "retrieve", "generate", "validate", "respond"} <= answer["timings"].keys()


def test_gives_nothing_but_what_it_promises(setup: Setup, reader: Caller) -> None:
    answer = setup(GOOD).invoke({"question": PAY}, context=reader)
    assert answer.keys() == {
        "answer", "refused", "citations", "verdict", "domain", "model", "timings", "usage", "run_id"
    }  # fmt: skip


def test_tries_once_more_when_the_draft_is_not_supported(setup: Setup, reader: Caller) -> None:
    answer = setup(BAD, GOOD).invoke({"question": PAY}, context=reader)
    assert answer["answer"] == f"{PAYMENT} [1]"
    assert answer["verdict"]["unsupported"] == []
    assert len(setup.model.prompts) == 2


def test_quotes_the_source_when_the_words_fail_twice(setup: Setup, reader: Caller) -> None:
    answer = setup(BAD).invoke({"question": PAY}, context=reader)
    assert answer["answer"] == f"{PAYMENT} [1]"
    assert "90 days" not in answer["answer"]
    assert answer["verdict"]["grounded"] is True
    assert answer["verdict"]["unsupported"] == [BAD.removesuffix(" [1]")]


def test_refuses_when_no_passage_answers(setup: Setup, reader: Caller) -> None:
    answer = setup("Paris is the capital of France.").invoke(
        {"question": "What is the capital of France?"}, context=reader
    )
    assert answer["refused"] is True
    assert answer["citations"] == []
    assert "Paris" not in answer["answer"]
    assert answer["verdict"]["grounded"] is False


def test_a_true_sentence_that_misses_the_point_is_not_an_answer(setup: Setup, reader: Caller) -> None:
    question = "How high is the liability of the supplier under the contract capped, in % of yearly fees?"
    answer = setup(GOOD).invoke({"question": question}, context=reader)
    assert "150 %" in answer["answer"]


def test_says_nothing_of_documents_that_the_caller_may_not_read(setup: Setup, reader: Caller) -> None:
    question = {"question": "How high is the secret bonus of the managing director for the year in EUR?"}
    for caller in (reader, Caller("eve", ("reader",), tenant="other", groups=("legal",))):
        answer = setup(BONUS).invoke(question, context=caller)
        assert answer["refused"] is True
        assert "90,000" not in str(setup.model.prompts)
    boss = setup(BONUS).invoke(question, context=Caller("boss", ("reader",)))
    assert "90,000" in boss["answer"]


@pytest.mark.parametrize("caller", [None, Caller(), Caller("rita"), Caller("rita", ("writer",))])
def test_denies_a_caller_without_the_permission(setup: Setup, caller: Caller | None) -> None:
    with pytest.raises(DeniedError):
        setup(GOOD).invoke({"question": PAY}, context=caller)
    assert setup.model.prompts == []


def test_a_role_in_the_input_is_not_a_role(setup: Setup) -> None:
    with pytest.raises(DeniedError):
        setup(GOOD).invoke({"question": PAY, "owner": "default:rita", "roles": ["reader"]})


def test_a_caller_that_is_not_a_caller_is_nobody(setup: Setup) -> None:
    config = {"configurable": {"caller": {"subject": "rita", "roles": ["reader"]}}}
    with pytest.raises(DeniedError):
        setup(GOOD).invoke({"question": PAY}, config)


def test_json_does_not_make_a_caller(setup: Setup) -> None:
    graph = setup(GOOD)
    for forged in ({"subject": "rita", "roles": ["reader"]}, {"roles": ["reader"]}, ["rita", ["reader"]]):
        with pytest.raises((DeniedError, TypeError)):
            graph.invoke({"question": PAY}, context=forged)
    assert setup.model.prompts == []


@pytest.mark.parametrize("question", ["", " ", "y" * 8001, "a half \ud800", 5, None])
def test_what_is_no_question_is_refused_before_anything_looks_at_it(
    setup: Setup, reader: Caller, question: object
) -> None:
    with pytest.raises(UsageError, match="8,000 characters"):
        setup(GOOD).invoke({"question": question}, context=reader)


def test_an_empty_index_says_what_to_do(setup: Setup, reader: Caller, tmp_path: Path) -> None:
    index = WordsIndex(tmp_path / "empty.sqlite")
    with pytest.raises(EmptyIndexError, match="markgraph ingest"):
        setup(GOOD, index=index).invoke({"question": PAY}, context=reader)


def test_a_follow_up_is_asked_with_its_topic(setup: Setup, reader: Caller) -> None:
    graph = setup(GOOD, checkpoint=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke({"question": PAY}, thread, context=reader)
    graph.invoke({"question": "And from when?"}, thread, context=reader)
    assert graph.get_state(thread).values["standalone"] == f"{PAY} And from when?"
    assert [turn["question"] for turn in graph.get_state(thread).values["history"]] == [PAY, "And from when?"]


def test_a_turn_does_not_see_the_passages_of_the_last(setup: Setup, reader: Caller) -> None:
    graph = setup(GOOD, "Paris.", checkpoint=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    assert graph.invoke({"question": PAY}, thread, context=reader)["refused"] is False
    second = graph.invoke({"question": "What is the capital of France?"}, thread, context=reader)
    assert second["refused"] is True
    assert second["citations"] == []


def test_nobody_goes_on_with_the_thread_of_somebody_else(setup: Setup, reader: Caller) -> None:
    graph = setup(GOOD, checkpoint=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke({"question": PAY}, thread, context=reader)
    for other in (Caller("eve", ("reader",)), Caller("rita", ("reader",), tenant="other")):
        with pytest.raises(DeniedError, match="somebody else"):
            graph.invoke({"question": "And to whom?"}, thread, context=other)


def test_a_run_that_died_goes_on_where_it_was(setup: Setup, reader: Caller) -> None:
    class Dying(FakeChatModel):
        def _next(self, messages: Any) -> Any:
            if not self.prompts:
                super()._next(messages)
                raise KeyboardInterrupt
            return super()._next(messages)

    model = Dying(responses=[GOOD])
    graph = setup(model=model, checkpoint=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(KeyboardInterrupt):
        graph.invoke({"question": PAY}, thread, context=reader, durability="sync")
    assert graph.get_state(thread).tasks
    assert graph.invoke(None, thread, context=reader)["answer"] == f"{PAYMENT} [1]"
    assert not graph.get_state(thread).tasks
    assert len(graph.get_state(thread).values["history"]) == 1


@pytest.mark.parametrize("left_out", ["compress", "route"])
def test_a_stage_that_is_null_is_left_out(setup: Setup, reader: Caller, left_out: str) -> None:
    graph = setup(GOOD, overrides=(f"graph.{left_out}=null",))
    assert left_out not in graph.get_graph().nodes
    assert graph.invoke({"question": PAY}, context=reader)["answer"] == f"{PAYMENT} [1]"


def test_runs_async_and_many_at_once(setup: Setup, reader: Caller) -> None:
    graph = setup(GOOD)

    async def ask_all() -> list[dict[str, Any]]:
        runs = (graph.ainvoke({"question": PAY}, context=reader) for _ in range(20))
        return list(await asyncio.gather(*runs))

    assert {answer["answer"] for answer in asyncio.run(ask_all())} == {f"{PAYMENT} [1]"}


def test_streams_the_models_tokens(setup: Setup, reader: Caller) -> None:
    parts = setup(GOOD).stream({"question": PAY}, context=reader, stream_mode="messages")
    pieces = [message.text for message, metadata in parts if metadata["langgraph_node"] == "generate"]
    assert len(pieces) > 5
    assert "".join(pieces) == GOOD


def test_works_in_a_chain(setup: Setup, reader: Caller) -> None:
    qa = setup(GOOD)
    chain = RunnableLambda(lambda text: {"question": text}) | qa | RunnableLambda(lambda out: out["answer"])
    assert chain.invoke(PAY, {"configurable": {"caller": reader}}) == f"{PAYMENT} [1]"


def test_works_as_a_node_of_another_graph(setup: Setup, reader: Caller) -> None:
    class Outer(TypedDict):
        question: str
        answer: str

    outer = StateGraph(Outer, Caller)
    outer.add_node("qa", setup(GOOD))
    outer.add_edge(START, "qa")
    outer.add_edge("qa", END)
    graph = outer.compile()
    assert graph.invoke({"question": PAY}, context=reader)["answer"] == f"{PAYMENT} [1]"
    with pytest.raises(DeniedError):
        graph.invoke({"question": PAY})


def test_a_client_cannot_jump_past_authorize(setup: Setup, reader: Caller) -> None:
    graph = setup(GOOD, checkpoint=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(Exception):  # noqa: B017, PT011 -- whatever stops it
        graph.invoke(Command(goto="retrieve", update={"standalone": PAY}), thread)
