"""`markgraph feedback`, from the shell."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.feedback.store import FeedbackStore
from markgraph.feedback.types import Feedback
from tests.commands.conftest import STAND_INS, Ran

Command = Callable[..., Ran]
PAY = "Within how many days must the customer pay an invoice?"
HASH = "experiment=no_weights"
pytestmark = pytest.mark.usefixtures("collection")


def ask(markgraph: Command, *more: str) -> str:
    """Ask in thread t1, and return the run's id."""
    answer = markgraph("ask", PAY, *STAND_INS, "thread=t1", "output=json", "audit=file", *more).json
    return str(answer["run_id"])


def test_an_answer_is_rated_listed_and_exported(markgraph: Command) -> None:
    run = ask(markgraph)
    rated = markgraph("feedback", run, "down", "thread=t1", "correction=Within 30 days.", HASH)
    assert (rated.code, run in rated.out) == (0, True)
    assert markgraph("feedback", "up", "thread=t1", HASH, "output=json").json["run_id"] == run
    markgraph("feedback", run, "down", "thread=t1", "correction=Within 30 days.", HASH)
    listed = markgraph("feedback", "list", HASH)
    assert (listed.code, listed.out.count("\n")) == (0, 1)
    assert "down" in listed.out
    assert "Within 30 days." in listed.out
    exported = markgraph("feedback", "export", HASH).json
    assert (exported["run_id"], exported["question"], exported["rating"]) == (run, PAY, "down")
    logged = [json.loads(line) for line in markgraph("audit", "list", "output=json").out.splitlines()]
    (ended,) = [record for record in logged if record.get("run") == run and "config" in record]
    assert exported["config"] == ended["config"]
    assert "feedback:write" in {record["action"] for record in logged}


def test_what_rests_on_closed_documents_is_withheld(markgraph: Command, documents: object) -> None:
    run = ask(markgraph)
    markgraph("feedback", run, "up", "thread=t1", HASH)
    assert markgraph("ingest", str(documents), HASH, "readers=[g:legal]").code == 0
    for action in ("list", "export"):
        shown = markgraph("feedback", action, HASH)
        assert (shown.out, shown.err.startswith("1 more rest on documents")) == ("", True)
        assert PAY in markgraph("feedback", action, HASH, "auth.caller.groups=[legal]").out


def test_an_answer_that_rests_on_nothing_is_shown_to_whoever_got_it(markgraph: Command, home: Path) -> None:
    said: Feedback = {  # as a graph without a search leaves it
        "run_id": "r1",
        "graph": "agent",
        "question": "What is 2 + 2?",
        "answer": "4",
        "refused": False,
        "messages": [],
        "completion": "",
        "documents": [],
        "chunks": [],
        "model": "fake",
        "config": "",
        "rating": "up",
        "correction": None,
        "comment": None,
        "id": "i1",
        "time": "2026-01-01T00:00:00",
        "tenant": "default",
        "subject": "local",
    }
    FeedbackStore(home / "feedback.sqlite").add(said)
    assert "What is 2 + 2?" in markgraph("feedback", "list", HASH).out
    withheld = markgraph("feedback", "export", HASH, "auth.caller.subject=trudy")
    assert (withheld.out, withheld.err.startswith("1 more rest on documents")) == ("", True)


def test_another_collection_withholds_everything(markgraph: Command) -> None:
    markgraph("feedback", ask(markgraph), "up", "thread=t1", HASH)
    assert markgraph("feedback", "list", HASH, "collection=other").out == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Allowed: [RUN] up"),
        (("meh",), "Allowed: [RUN] up"),
        (("r1", "r2", "up"), "Allowed: [RUN] up"),
        (("r1", "list"), "Allowed: [RUN] up"),
        (("up",), "thread=NAME"),
        (("up", "thread=other"), "There is no run"),
        (("up", "thread=t1", "checkpoint=none"), "checkpoint=none"),
        (("up", "thread=t1", "ratings=none"), "ratings=sqlite"),
        (("list", "ratings=none"), "ratings=sqlite"),
    ],
)
def test_says_what_is_wrong(words: tuple[str, ...], says: str, markgraph: Command) -> None:
    ask(markgraph)
    refused = markgraph("feedback", *words, HASH)
    assert (refused.code, says in refused.err) == (2, True), refused.err


def test_who_may_only_ask_sees_nothing_of_others(markgraph: Command) -> None:
    markgraph("feedback", ask(markgraph), "up", "thread=t1", HASH)
    denied = markgraph("feedback", "list", HASH, "auth.caller.roles=[reader]")
    assert (denied.code, denied.out, "feedback:read" in denied.err) == (4, "", True)
