"""What rows are made of what people said of answers, through the real graph, store and index."""

from pathlib import Path
from typing import Any

import pytest

from markgraph.errors import ConfigError, UsageError
from markgraph.feedback.store import FeedbackStore
from markgraph.feedback.types import Feedback
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.training.data.opinions import Opinions
from markgraph.training.rows import Kind, Row

TINA = Caller("tina", ["trainer"])
TEXT = "Payment is due within 30 days of the invoice."
OPEN = Chunk(TEXT, "terms", "Terms", 0, len(TEXT), readers=("public",))
CLOSED = Chunk("The discount is 7 percent.", "deal", "Deal", 0, 26, readers=("g:sales",), classification=1)


@pytest.fixture
def index(tmp_path: Path) -> WordsIndex:
    made = WordsIndex(tmp_path / "words.sqlite")
    made.add([OPEN, CLOSED])
    return made


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(tmp_path / "feedback.sqlite")


def said(run: str, rating: Any, correction: str | None = None, **changes: Any) -> Feedback:
    """Return what somebody said of an answer that the model wrote from the open passage."""
    plain = Feedback(
        id=f"f-{run}",
        run_id=run,
        time="2026-01-01T00:00:00+00:00",
        tenant="default",
        subject="rita",
        graph="qa",
        question="When is payment due?",
        answer=f"{TEXT} [1]",
        refused=False,
        messages=[
            {"role": "user", "content": f"[1] Terms\n{TEXT}\n\nQuestion: When is payment due? ({run})"}
        ],
        completion="It is due soon [1].",
        documents=["terms"],
        chunks=[OPEN.id],
        model="smollm2",
        config="c",
        rating=rating,
        correction=correction,
        comment=None,
    )
    return plain | changes  # type: ignore[return-value]


def rows_of(
    store: FeedbackStore | None, index: WordsIndex, kind: Kind, caller: Caller = TINA
) -> tuple[list[Row], list[tuple[str, ...]]]:
    left: list[tuple[str, ...]] = []
    return list(Opinions(store, index).rows(kind, caller, lambda *each: left.append(each))), left


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("rated", {"up": [(True, "It is due soon [1].")], "down": [(False, "It is due soon [1].")]}),
        ("chat", {"up": [(None, "It is due soon [1].")], "down": []}),
    ],
)
def test_a_thumb_is_a_rated_row_and_a_good_answer_one_to_say(
    kind: Kind, expected: dict[str, Any], store: FeedbackStore, index: WordsIndex
) -> None:
    for rating in ("up", "down"):
        store.add(said(rating, rating))
    rows, left = rows_of(store, index, kind)
    assert [(row.get("good"), row["completion"]) for row in rows] == expected["up"] + expected["down"]
    assert len(rows) + len(left) == 2


def test_a_correction_goes_over_what_the_model_wrote(store: FeedbackStore, index: WordsIndex) -> None:
    store.add(said("r1", "down", "Within 30 days [1]."))
    (pair,), _ = rows_of(store, index, "pair")
    assert (pair["chosen"], pair["rejected"]) == ("Within 30 days [1].", "It is due soon [1].")
    (chat,), _ = rows_of(store, index, "chat")
    assert chat["completion"] == "Within 30 days [1]."
    (task,), _ = rows_of(store, index, "task")
    assert task["reference"] == ["Within 30 days [1]."]
    rated, _ = rows_of(store, index, "rated")
    assert [(row["good"], row["completion"]) for row in rated] == [
        (True, "Within 30 days [1]."),
        (False, "It is due soon [1]."),
    ]


def test_words_that_the_model_did_not_write_are_not_blamed_on_it(
    store: FeedbackStore, index: WordsIndex
) -> None:
    store.add(said("quoted", "down", completion=""))
    store.add(said("refused", "down", "Within 30 days [1].", completion="", refused=True))
    rows, left = rows_of(store, index, "rated")
    assert [(row["good"], row["completion"]) for row in rows] == [(True, "Within 30 days [1].")]
    assert left == [("feedback", "nothing in it makes a row of kind rated", "f-quoted")]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"chunks": []}, "it rests on no passage, so nobody is known who may read it"),
        ({"chunks": [OPEN.id, "gone"]}, "a passage behind it was changed, removed, or closed to the caller"),
        ({"chunks": [CLOSED.id]}, "a passage behind it was changed, removed, or closed to the caller"),
        ({"messages": []}, "its prompt is not known"),
    ],
)
def test_leaves_out_what_nobody_is_known_to_be_allowed(
    changes: dict[str, Any], why: str, store: FeedbackStore, index: WordsIndex
) -> None:
    store.add(said("r1", "up", **changes))
    assert rows_of(store, index, "chat") == ([], [("feedback", why, "f-r1")])


def test_is_open_to_whoever_may_read_every_passage_behind_it_now(
    store: FeedbackStore, index: WordsIndex
) -> None:
    seller = Caller("sam", ["trainer"], groups=["sales"], clearance=1)
    store.add(said("r1", "up", chunks=[OPEN.id, CLOSED.id], documents=["terms", "deal"]))
    (row,), _ = rows_of(store, index, "chat", seller)
    assert (row["readers"], row["classification"], row["documents"]) == (["g:sales"], 1, ["deal", "terms"])
    index.permit([OPEN.id], Permissions(readers=("g:hr",)))
    assert rows_of(store, index, "chat", seller)[0] == []


def test_another_tenant_s_opinions_are_not_there(store: FeedbackStore, index: WordsIndex) -> None:
    store.add(said("r1", "up", tenant="other"))
    with pytest.raises(UsageError, match="Nobody has rated an answer yet"):
        rows_of(store, index, "rated")


def test_says_what_is_missing(store: FeedbackStore, index: WordsIndex) -> None:
    with pytest.raises(ConfigError, match="ratings=none"):
        rows_of(None, index, "rated")
    with pytest.raises(UsageError, match="Allowed: chat, task, pair, rated"):
        rows_of(store, index, "text")
