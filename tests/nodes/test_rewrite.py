"""Follow-ups, and questions that only look like them."""

import pytest

from markgraph.nodes.rewrite import leans_on_context


@pytest.mark.parametrize(
    "question",
    [
        "And to whom?", "Why?", "How long?", "Until when?", "What about processors?",
        "Does it apply to banks?", "Who may waive this?", "Is that the maximum?", "But not for small firms?",
        "How high are they?",
    ],
)  # fmt: skip
def test_leans_on_what_was_said(question: str) -> None:
    assert leans_on_context(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?", "What is DORA?", "Who appoints the auditor?",
        "How long must logs be kept?", "Within how many days must an invoice be paid?",
    ],
)  # fmt: skip
def test_stands_on_its_own(question: str) -> None:
    assert not leans_on_context(question)
