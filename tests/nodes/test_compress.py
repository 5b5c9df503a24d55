"""What of history and passages fits the budget."""

from hypothesis import given
from hypothesis import strategies as st

from markgraph.nodes.compress import excerpt, last_turns
from markgraph.state import Turn

TEXTS = [
    "Cats sleep all day. Payment is due in thirty days. Dogs bark at night.",
    "Payment is owed in euros.",
]


def turn(question: str) -> Turn:
    return Turn(question=question, standalone=question, topic=question, answer="x" * 10, grants=[])


def test_leaves_alone_what_fits() -> None:
    assert excerpt("payment", TEXTS, 1000) == TEXTS


def test_keeps_whole_sentences_that_are_near_the_question() -> None:
    assert excerpt("When is payment due?", TEXTS, 60) == [
        "Payment is due in thirty days.",
        "Payment is owed in euros.",
    ]


def test_leaves_a_passage_out_rather_than_cut_a_sentence() -> None:
    assert excerpt("When is payment due?", TEXTS, 35) == ["Payment is due in thirty days.", ""]


def test_keeps_the_newest_turns_in_their_order() -> None:
    history = [turn("a" * 10), turn("b" * 10), turn("c" * 10)]
    assert last_turns(history, 45) == history[1:]
    assert last_turns(history, 5) == []


@given(st.lists(st.text("ab .", max_size=60), max_size=5), st.integers(0, 200))
def test_never_exceeds_its_budget_and_only_copies(texts: list[str], budget: int) -> None:
    kept = excerpt("a b", texts, budget)
    assert len(kept) == len(texts)
    assert sum(map(len, kept)) <= budget or kept == texts
    assert all(set(short.split()) <= set(text.split()) for short, text in zip(kept, texts, strict=True))
