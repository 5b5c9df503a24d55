"""The adapter that ships with MARK answers from passages, and says when they don't."""

from typing import Any

import pytest

from markgraph.build import compose, make
from markgraph.nodes.generate import Generate
from markgraph.validation.refusals import is_refusal

PASSAGES = (
    ("Lease", "The rent is due on the fifth working day of each month. The deposit is 900 euros."),
    ("Garden", "Roses are cut in March. The hedge between the gardens is kept below two metres."),
)


@pytest.fixture(scope="module")
def generate() -> Generate:
    config = compose("ask", ["question=x", "model=smollm2_answers", "model.engine.mode=exact"])
    return Generate(make(config, "model"), instructions=config.graph.generate.instructions)


def said(generate: Generate, question: str) -> str:
    passages = [
        {"title": title, "heading": [], "text": text, "metadata": {}, "ids": []} for title, text in PASSAGES
    ]
    state: Any = {"attempts": 0, "standalone": question, "passages": passages}
    return str(generate.model.invoke(generate.prompt(state)).text)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("question", "answer"),
    [("How much is the deposit?", "900 euros [1]"), ("How high may the hedge be?", "two metres [2]")],
)
def test_answers_in_a_few_words_with_the_number_of_the_passage(
    generate: Generate, question: str, answer: str
) -> None:
    assert said(generate, question) == answer


@pytest.mark.weights
def test_says_when_the_passages_hold_no_answer(generate: Generate) -> None:
    assert is_refusal(said(generate, "Who won the boat race between Oxford and Cambridge in 1921?"))
