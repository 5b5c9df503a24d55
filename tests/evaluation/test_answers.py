"""Scores of answers agree with numbers worked out by hand, and with the programs that define them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from markgraph.evaluation.answers import (
    bleu,
    citation_precision,
    citation_recall,
    contains,
    exact_match,
    normalised,
    refusal,
    rouge_l,
    token_f1,
)
from markgraph.validation.refusals import REFUSAL, is_refusal

SCORES = (exact_match, contains, token_f1, rouge_l, bleu)


def test_compares_as_squad_does_and_leaves_marks_out() -> None:
    assert normalised("  The U.S. Senate, [1] and a House [2, 3]!") == "us senate and house"
    assert normalised("[1]") == ""


@pytest.mark.parametrize(
    ("answer", "references", "exact", "within", "f1"),
    [
        ("30 days [1]", ["30 days"], 1, 1, 1),
        ("The 30 days.", ["30 Days"], 1, 1, 1),
        ("Payment is due within 30 days [1].", ["30 days"], 0, 1, 2 * (2 / 6) / (2 / 6 + 1)),
        ("It is due in 130 days", ["30 days"], 0, 0, 2 * (1 / 6 * 1 / 2) / (1 / 6 + 1 / 2)),
        ("books", ["magazines", "books and magazines"], 0, 0, 2 * (1 / 3) / (1 + 1 / 3)),
        ("", ["30 days"], 0, 0, 0),
        ("days days days", ["30 days"], 0, 0, 2 * (1 / 3 * 1 / 2) / (1 / 3 + 1 / 2)),
    ],
)
def test_scores_by_hand(answer: str, references: list[str], exact: float, within: float, f1: float) -> None:
    assert exact_match(answer, references) == exact
    assert contains(answer, references) == within
    assert token_f1(answer, references) == pytest.approx(f1)


def test_rouge_l_and_bleu_by_hand() -> None:
    # Lin 2004, section 2: the longest common subsequence of these has 3 of 4 words.
    assert rouge_l("police kill the gunman [1]", ["police killed the gunman"]) == pytest.approx(3 / 4)
    assert rouge_l("b", ["a", "b"]) == 1
    assert bleu("the cat sat on the mat [2]", ["the cat sat on the mat"]) == pytest.approx(1)
    # 1-grams 3/4, 2-grams 2/3, 3-grams 1/2, 4-grams 0/1, smoothed to 1/2 (Chen & Cherry 2014, method 3).
    expected = (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** (1 / 4)
    assert bleu("the cat sat down", ["the cat sat up"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "right",
    [
        "Η πληρωμή οφείλεται εντός 30 ημερών.",
        "Платёж производится в течение 30 дней.",
        "भुगतान 30 दिनों में करना है।",
        "付款期限为30天。",
        "يجب الدفع خلال 30 يومًا.",
    ],
)
def test_an_answer_in_any_script_is_scored_by_its_words(right: str) -> None:
    assert [score(right.upper(), [right]) for score in (exact_match, contains, token_f1, rouge_l)] == [1] * 4
    assert rouge_l(unicodedata.normalize("NFD", right), [unicodedata.normalize("NFC", right)]) == 1
    assert rouge_l("something else", [right]) == 0


def test_half_of_the_words_of_another_script_are_half_of_the_score() -> None:
    assert rouge_l("Η πληρωμή χθες", ["Η πληρωμή οφείλεται"]) == pytest.approx(2 / 3)


@given(st.text(st.characters(max_codepoint=127, exclude_characters="[]")))
def test_words_in_ascii_are_those_of_rouges_own_tokenizer(text: str) -> None:
    right = "It's due in 30_days, at 4.5 percent"
    own = RougeScorer(["rougeL"]).score(right, f"it is due: {text}")["rougeL"].fmeasure
    assert rouge_l(f"it is due: {text}", [right]) == own


@pytest.mark.parametrize("score", SCORES)
def test_refusing_is_right_only_where_there_is_no_answer(score: type[float]) -> None:
    assert score(REFUSAL, []) == 1
    assert score(REFUSAL, ["the passages"]) == 0
    assert score("It is 30 days [1].", []) == 0


def test_a_refusal_is_scored_by_whether_it_was_called_for() -> None:
    assert (refusal(REFUSAL, []), refusal(REFUSAL, ["x"])) == (1, 0)
    assert (refusal("x", []), refusal("x", ["x"])) == (0, 1)


@pytest.mark.parametrize(
    ("answer", "gold", "precision", "recall"),
    [
        ("So [1].", {1}, 1, 1),
        ("So [1]. And so [2].", {1}, 1 / 2, 1),
        ("So [1].", {1, 2}, 1, 1 / 2),
        ("So [3].", {1}, 0, 0),
        ("So.", {1}, 0, 0),
        (REFUSAL, set(), 1, 1),
        ("So [1].", set(), 0, 0),
    ],
)
def test_citations_by_hand(answer: str, gold: set[int], precision: float, recall: float) -> None:
    assert citation_precision(answer, gold) == precision
    assert citation_recall(answer, gold) == recall


@pytest.mark.parametrize(
    "text",
    [
        REFUSAL,
        f" {REFUSAL.lower()} [1]",
        "The passages don't answer this question.",
        "The provided passages do not contain any information about that. I can only use what they say.",
        "Unfortunately, the text does not mention when payment is due.",
        "I'm sorry, but I cannot answer this question.",
        "I don't know.",
        "There is no information about this in the passages.",
        "None of the passages says who it was.",
        "I can't answer this: no passage in the documents that you may read supports an answer.",
    ],
)
def test_knows_a_refusal(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Payment is due within 30 days [1].",
        "The contract text does not mention a deadline, so payment is due at once [2].",
        "No passage fee is due for ships under 50 tons.",
        "He did not know the answer.",
        "The treaty does not contain a clause on fishing.",
        "The seller does not answer for hidden defects.",
        "There is no doubt that it was Harold.",
    ],
)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)
