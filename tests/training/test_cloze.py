"""Questions made by template ask for a span of the text, and don't give it away."""

import random

import pytest

from markgraph.training.data.cloze import Cloze, clozes

TEXT = (
    "Anna Smith founded the company in Berlin in 1998 with two partners. "
    "The supplier shall notify the customer within 48 hours of the incident. "
    "It was agreed. "
    "In addition, the processor may engage another processor only with the authorisation of the controller."
)


def asked(text: str, most: int = 9, seed: int = 0) -> list[Cloze]:
    return list(clozes(text, most, random.Random(seed)))


@pytest.mark.parametrize("seed", range(40))
def test_the_answer_stands_in_the_text_and_not_in_the_question(seed: int) -> None:
    found = asked(TEXT, seed=seed)
    assert found
    for cloze in found:
        assert cloze.answer in cloze.sentence
        assert cloze.sentence in TEXT
        assert cloze.answer.lower() not in cloze.question.lower()
        assert cloze.question.endswith("?")


def test_each_sentence_is_asked_about_once_and_short_ones_not_at_all() -> None:
    sentences = [cloze.sentence for cloze in asked(TEXT)]
    assert len(set(sentences)) == len(sentences) == 3


def test_asks_for_times_numbers_names_and_things() -> None:
    answers = {cloze.answer for seed in range(60) for cloze in asked(TEXT, seed=seed)}
    assert {"1998", "48 hours", "Berlin", "Anna Smith", "two partners", "incident"} <= answers


def test_is_the_same_for_the_same_seed_and_stops_at_the_number_asked_for() -> None:
    assert asked(TEXT) == asked(TEXT)
    assert len(asked(TEXT, most=2)) == 2
    assert asked("") == []


def test_what_a_text_says_often_answers_nothing() -> None:
    assert asked("Berlin is near Berlin, and Berlin is in Berlin, as people in Berlin would say.") == []
