"""Which sentence answers, and whether any does."""

import pytest

from markgraph.validation.evidence import ANSWERABLE, Evidence, rank_evidence
from markgraph.validation.features import POOL
from tests.validation.fakes import CountingEmbed, embed

BREACH = (
    "Notification of a personal data breach 1. In the case of a personal data breach, the controller shall, "
    "not later than 72 hours after having become aware of it, notify the supervisory authority. "
    "2. The processor shall notify the controller of a personal data breach without undue delay."
)
MEANING = (
    "Definitions 1. ‘Breach’ means a loss of data. 2. A breach of personal data is bad for a controller."
)
FINES = (
    "Penalties 1. The fines of this Act are proportionate. 2. Infringements of these provisions shall "
    "be subject to administrative fines up to 20 000 000 EUR: (a) the basic principles for the processing of "
    "data, including the conditions for consent; (b) the rights of persons whose data are processed."
)


def best(question: str, *passages: str) -> str:
    return rank_evidence(question, passages, embed)[0].quote


def is_answerable(ranked: list[Evidence]) -> bool:
    """Tell whether the best sentence is good enough to answer with."""
    return bool(ranked) and ranked[0].score >= ANSWERABLE


def test_prefers_the_sentence_that_gives_what_is_asked_for() -> None:
    question = "Within how many hours must a personal data breach be notified to the supervisory authority?"
    assert "72 hours" in best(question, MEANING, BREACH)


def test_prefers_the_definition_of_a_term_to_other_sentences_about_it() -> None:
    assert best("What does 'breach' mean?", BREACH, MEANING) == "1. ‘Breach’ means a loss of data."


def test_quotes_a_lead_in_with_its_points() -> None:
    quote = best("What is the fine for infringing the basic principles for processing?", FINES, BREACH)
    assert quote.startswith("2. Infringements")
    assert "(a) the basic principles" in quote


def test_never_offers_a_heading() -> None:
    ranked = rank_evidence("What is the notification of a personal data breach?", [BREACH], embed)
    assert "Notification of a personal data breach" not in [found.quote for found in ranked]


def test_ranks_from_best_to_worst_with_scores_from_0_to_1() -> None:
    scores = [found.score for found in rank_evidence("Who notifies the breach?", [BREACH, MEANING], embed)]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_quotes_are_where_it_says() -> None:
    passages = [MEANING, BREACH, FINES]
    for found in rank_evidence("Who notifies a breach?", passages, embed):
        assert passages[found.passage][found.start : found.end] == found.quote


def test_refuses_a_question_from_elsewhere() -> None:
    ranked = rank_evidence("Who won the 2018 World Cup?", [BREACH, MEANING, FINES], embed)
    assert not is_answerable(ranked)


def test_answers_a_question_that_the_passage_answers() -> None:
    assert is_answerable(rank_evidence("What does 'breach' mean?", [MEANING], embed))


@pytest.mark.parametrize("passages", [[], [""], ["   \n", "..."]])
def test_refuses_when_the_passages_say_nothing(passages: list[str]) -> None:
    assert rank_evidence("What is a breach?", passages, embed) == []
    assert not is_answerable([])


@pytest.mark.parametrize("question", ["", "?", "the of and", "🙂"])
def test_stands_questions_without_words(question: str) -> None:
    assert not is_answerable(rank_evidence(question, [BREACH], embed))


def test_embeds_a_bounded_number_of_texts_in_one_call() -> None:
    counting = CountingEmbed()
    rank_evidence("Who notifies a breach?", [BREACH] * 50, counting)
    assert counting.calls == [POOL + 1]
