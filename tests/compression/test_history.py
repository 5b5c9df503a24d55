"""A summary keeps names, numbers, dates and open questions, in the thread's own words."""

from hypothesis import given
from hypothesis import strategies as st

from markgraph.compression.history import last_turns, remember, summarize
from markgraph.state import Turn


def words(text: str) -> int:
    return len(text.split())


def turn(question: str, answer: str) -> Turn:
    return Turn(question=question, standalone=question, topic=question, answer=answer, grants=[])


HISTORY = [
    turn("Who is bound?", "It is as you say. The buyer, Acme Corp, is bound until 1 March 2026. [1]"),
    turn("Which court?", "No answer: nothing was found."),
    turn("Is that so?", "Yes, it is so. [2]"),
]


def test_everything_stays_whole_where_it_fits() -> None:
    kept = remember(HISTORY, "No answer", 100, words)
    assert (kept.recent, kept.summary) == (HISTORY, "")


def test_facts_and_open_questions_come_before_talk() -> None:
    assert summarize(HISTORY, "No answer", 28, words).splitlines() == [
        "- Who is bound? The buyer, Acme Corp, is bound until 1 March 2026.",
        "- Without an answer so far: Which court?",
    ]
    assert summarize(HISTORY, "No answer", 10, words) == "- Without an answer so far: Which court?"


def test_a_fact_that_is_told_already_makes_room_for_another() -> None:
    turns = [
        turn("A?", "He met Ada in 1840."),
        turn("B?", "He met Ada in 1840."),
        turn("C?", "He met Bob, now dead."),
    ]
    assert "Bob" in summarize(turns, "No answer", 18, words)


def test_keeps_the_newest_turns_in_their_order() -> None:
    assert last_turns(HISTORY, 15, words) == HISTORY[1:]
    assert last_turns(HISTORY, 14, words) == HISTORY[2:]
    assert last_turns(HISTORY, 3, words) == []


@given(
    st.lists(st.tuples(st.text("ab?A1 ", max_size=20), st.text("ab A1.", max_size=60)), max_size=8),
    st.integers(0, 60),
)
def test_fits_its_room_and_every_word_was_said(said: list[tuple[str, str]], room: int) -> None:
    turns = [turn(question, answer) for question, answer in said]
    kept = remember(turns, "No answer", room, words)
    spent = sum(words(each["question"]) + words(each["answer"]) for each in kept.recent)
    assert spent + words(kept.summary) <= room
    assert kept.recent == turns[len(turns) - len(kept.recent) :]
    heard = {word for pair in said for text in pair for word in text.split()}
    assert set(kept.summary.split()) <= heard | {"-"}
