"""Whose answers may be rated, and what is kept of them, with runs of the real graph in real threads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from markgraph import checkpoints
from markgraph.build import compose, load_graph, make_service
from markgraph.errors import DeniedError, UsageError
from markgraph.feedback.desk import Desk
from markgraph.feedback.store import FeedbackStore
from markgraph.feedback.types import Opinion
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller, thread_key
from markgraph.security.guard import Guard
from tests.graphs.conftest import LIABILITY, PAYMENT
from tests.retrieval.index_suite import chunk

PAY = "Within how many days must the customer pay an invoice?"
CAP = "The supplier's liability under this contract is capped at how many % of the yearly fees?"
GOOD = f"{PAYMENT} [1]"
UP = Opinion(rating="up", correction=None, comment=None)
ANNA, BEN = Caller("anna", ("reader",), "acme"), Caller("ben", ("reader",), "acme")
OTHER_ANNA = Caller("anna", ("reader",), "other")


class Scene:
    """A graph with threads in a file, and a desk over the same file."""

    def __init__(self, folder: Path, *drafts: str) -> None:
        index = WordsIndex(folder / "words.sqlite")
        chunks = [chunk(PAYMENT, source="terms.md", tenant=each) for each in ("acme", "other")]
        index.add([*chunks, chunk(LIABILITY, source="contract.md", tenant="acme")])
        self.threads = checkpoints.sqlite(str(folder / "threads.sqlite"))
        services: Any = {"index": index, "embedder": HashEmbeddings(), "checkpoint": self.threads}
        self.model = FakeChatModel(responses=list(drafts))
        self.graph = load_graph("qa", model=self.model, **services)
        self.guard = Guard(make_service(compose("serve"), "policy"))
        self.store = FeedbackStore(folder / "feedback.sqlite")
        self.desk = Desk(self.store, checkpoints.sqlite(str(folder / "threads.sqlite")), self.guard)

    def ask(self, question: str, caller: Caller = ANNA, thread: str = "t1") -> dict[str, Any]:
        config: Any = {"configurable": {"thread_id": thread_key(caller, f"qa:{thread}")}}
        return self.graph.invoke({"question": question}, config, context=caller)


@pytest.fixture
def scene(tmp_path: Path) -> Callable[..., Scene]:
    return lambda *drafts: Scene(tmp_path, *drafts)


def test_keeps_what_the_run_knows_of_its_answer(scene: Callable[..., Scene]) -> None:
    made = scene(GOOD)
    answer = made.ask(PAY)
    opinion = Opinion(rating="down", correction="Within 30 days.", comment="Too long.")
    said = made.desk.take("qa", ANNA, "t1", answer["run_id"], opinion)
    assert [*made.store.latest("acme")] == [said]
    assert said["answer"] == answer["answer"]
    assert (said["question"], said["model"], said["completion"]) == (PAY, "fake", GOOD)
    assert (said["rating"], said["correction"], said["comment"]) == ("down", "Within 30 days.", "Too long.")
    assert (said["tenant"], said["subject"]) == ("acme", "anna")
    asked = [message.text for message in made.model.prompts[-1]]
    assert [message["role"] for message in said["messages"]] == ["system", "user"]
    assert [message["content"] for message in said["messages"]] == asked
    assert PAYMENT in asked[-1]
    assert said["documents"] == ["terms.md"]
    assert chunk(PAYMENT, source="terms.md", tenant="acme").id in said["chunks"]


def test_an_earlier_answer_of_a_thread_is_kept_with_its_own_question(scene: Callable[..., Scene]) -> None:
    made = scene(GOOD, f"{LIABILITY} [1]")
    first, second = made.ask(PAY), made.ask(CAP)
    assert made.desk.take("qa", ANNA, "t1", None, UP)["run_id"] == second["run_id"]
    said = made.desk.take("qa", ANNA, "t1", first["run_id"], UP)
    assert (said["run_id"], said["question"], said["answer"]) == (first["run_id"], PAY, first["answer"])
    assert said["messages"][-1]["content"].endswith(f"Question: {PAY}")


def test_a_quoted_answer_is_not_taken_for_the_models(scene: Callable[..., Scene]) -> None:
    made = scene("The moon is made of cheese. [1]")
    answer = made.ask(PAY)
    assert not answer["refused"]
    said = made.desk.take("qa", ANNA, "t1", answer["run_id"], UP)
    assert said["completion"] == ""
    assert "cheese" not in said["answer"]


def test_what_earlier_turns_rest_on_is_named_too(scene: Callable[..., Scene]) -> None:
    made = scene(GOOD, f"{LIABILITY} [1]")
    made.ask(PAY)
    said = made.desk.take("qa", ANNA, "t1", made.ask(CAP)["run_id"], UP)
    assert any(
        PAYMENT in message["content"] for message in said["messages"] if message["role"] == "assistant"
    )
    assert chunk(PAYMENT, source="terms.md", tenant="acme").id in said["chunks"]


def test_nobody_rates_what_is_another_persons(scene: Callable[..., Scene]) -> None:
    made = scene(GOOD)
    run = made.ask(PAY)["run_id"]
    for stranger in (BEN, OTHER_ANNA):
        made.ask(PAY, stranger)
        with pytest.raises(UsageError, match="no run"):
            made.desk.take("qa", stranger, "t1", run, UP)
    assert [*made.store.latest("acme")] == []


@pytest.mark.parametrize(("thread", "run"), [("t2", None), ("t1", "0" * 32)])
def test_a_run_that_is_not_in_the_thread_is_refused(
    thread: str, run: str | None, scene: Callable[..., Scene]
) -> None:
    made = scene(GOOD)
    made.ask(PAY)
    with pytest.raises(UsageError, match="There is no run"):
        made.desk.take("qa", ANNA, thread, run, UP)


def test_no_words_get_into_the_audit_log_as_the_id_of_a_run(scene: Callable[..., Scene]) -> None:
    made = scene(GOOD)
    made.ask(PAY)
    with pytest.raises(UsageError, match="32 digits") as refused:
        made.desk.take("qa", ANNA, "t1", "my salary is 5000 euros", UP)
    assert "salary" not in str(refused.value)


def test_a_run_that_failed_has_no_answer_to_rate(scene: Callable[..., Scene]) -> None:
    made = scene(GOOD)
    made.ask(PAY)
    made.model.responses.clear()
    with pytest.raises(IndexError):
        made.ask(CAP)
    with pytest.raises(UsageError, match="not finished"):
        made.desk.take("qa", ANNA, "t1", None, UP)


def test_needs_its_own_permission(scene: Callable[..., Scene]) -> None:
    made = scene(GOOD)
    run = made.ask(PAY)["run_id"]
    with pytest.raises(DeniedError, match="feedback:write"):
        made.desk.take("qa", Caller("anna", ("auditor",), "acme"), "t1", run, UP)


@pytest.mark.parametrize("wrong", [{"rating": "meh"}, {"correction": " "}, {"comment": "x" * 8001}])
def test_an_opinion_that_says_nothing_is_refused(wrong: Any, scene: Callable[..., Scene]) -> None:
    made = scene(GOOD)
    run = made.ask(PAY)["run_id"]
    with pytest.raises(UsageError, match=r"A (rating|correction|comment) is"):
        made.desk.take("qa", ANNA, "t1", run, UP | wrong)
