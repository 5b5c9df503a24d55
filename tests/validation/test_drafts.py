"""What in a draft is a statement, and what it cites."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markgraph.validation.drafts import statements


@pytest.mark.parametrize(
    "draft",
    [
        "It is due on Monday [1][3].",
        "It is due on Monday [1, 3].",
        "It is due on Monday.[1] [3]",
        "It is due on Monday. [1][3]",
        "It is due [1] on Monday [3].",
    ],
)
def test_reads_and_removes_marks(draft: str) -> None:
    assert statements(draft) == [("It is due on Monday.", (1, 3))]


def test_late_marks_belong_to_the_sentence_before() -> None:
    assert statements("It is due.[1] It is paid. [2]") == [("It is due.", (1,)), ("It is paid.", (2,))]


@pytest.mark.parametrize(
    "draft",
    [
        "",
        "  \n",
        "[1]",
        "Sure, here is the answer:",
        "Sure! I hope this helps.",
        "Let me know if you have further questions.",
        "Is it due?",
        "## Deadlines",
        "**Deadlines**",
        "The deadlines are as follows:",
    ],
)
def test_drops_what_states_nothing(draft: str) -> None:
    assert statements(draft) == []


def test_takes_a_pleasant_opening_off_a_statement() -> None:
    assert statements("Sure, here is the answer: It is due.") == [("It is due.", ())]


def test_takes_bullets_off() -> None:
    found = statements("1. It is due.\n2) It is paid.\n- It is over.")
    assert [each.text for each in found] == ["It is due.", "It is paid.", "It is over."]


@pytest.mark.parametrize("draft", ["72 hours", "No.", "the controller", "Within 72 hours:"])
def test_keeps_short_answers(draft: str) -> None:
    assert [each.text for each in statements(draft)] == [draft]


@given(st.text(alphabet="aA1 .[],?:\n", max_size=80))
def test_stands_any_draft(draft: str) -> None:
    assert all(each.text.strip() for each in statements(draft))
