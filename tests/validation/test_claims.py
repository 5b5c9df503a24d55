"""What a draft may say, given its passages."""

import pytest

from markgraph.validation.claims import Claim, check_answer
from tests.validation.fakes import CountingEmbed, embed

APPEALS = "Fees are due within 30 days. Appeals must be filed with the court within 14 days."
BREACH = (
    "1. The controller shall notify the personal data breach to the supervisory authority without delay and "
    "not later than 72 hours after having become aware of it. 2. The processor shall notify the controller."
)
PETS = "Tenants may keep a small dog in the house. Cats are not allowed in the garden."


def check(draft: str, *passages: str) -> Claim:
    (claim,) = check_answer(draft, passages, embed)
    return claim


@pytest.mark.parametrize(
    ("draft", "passage"),
    [
        ("Appeals must be filed with the court within 14 days.", APPEALS),
        ("Appeals must be filed within fourteen days.", APPEALS),
        ("The controller must notify the personal data breach to the supervisory authority.", BREACH),
        ("Notify the personal data breach to the supervisory authority within 72 hours.", BREACH),
        ("Tenants may keep a dog.", PETS),
        ("1. Tenants may keep a small dog.", PETS),
        ("The fee is 20,000 euros.", "The fee is twenty thousand euros."),
        ("Cats are not allowed in the garden.", PETS),
    ],
)
def test_supports_what_the_passage_says(draft: str, passage: str) -> None:
    claim = check(draft, passage)
    assert (claim.supported, claim.reason) == (True, "")
    assert claim.support is not None
    assert passage[claim.support.start : claim.support.end] == claim.support.quote


@pytest.mark.parametrize(
    ("draft", "passage", "reason"),
    [
        ("Appeals must be filed with the court within 20 days.", APPEALS, "not give 20 days"),
        ("Appeals must be filed with the court within 14 hours.", APPEALS, "not give 14 hours"),
        ("Cats are allowed in the garden.", PETS, "passage denies"),
        ("Tenants may not keep a small dog in the house.", PETS, "does not deny"),
        ("Tenants must keep a small dog in the house.", PETS, "'may'"),
        ("Tenants may keep a large dog in the house.", PETS, "'larg'"),
        ("Cats are disallowed in the garden.", "Cats are allowed in the garden.", "'disallow'"),
        ("Appeals take at least 14 days.", "Appeals take at most 14 days.", "at least 14 days"),
        (
            "It applies under Section 5.",
            "6. It applies under Section 4 and paragraph 5.",
            "not give Section 5",
        ),
        ("It applies under paragraph 6.", "6. It applies under paragraph 5.", "not give paragraph 6"),
        ("Whales sing at dawn.", PETS, "no passage says this"),
        ("Mr. Jones may keep a small dog in the house.", "Mr. Smith may keep a small dog in the house.", ""),
    ],
)
def test_rejects_what_the_passage_does_not_say(draft: str, passage: str, reason: str) -> None:
    claim = check(draft, passage)
    assert not claim.supported
    assert reason in claim.reason


@pytest.mark.parametrize("joint", [". Appeals", " and appeals", "; appeals", ", while appeals"])
def test_rejects_a_number_that_the_passage_gives_for_something_else(joint: str) -> None:
    passage = f"Fees are due within 30 days{joint} must be filed within 14 days."
    assert check("Fees are due within 30 days.", passage).supported
    assert not check("Appeals must be filed within 30 days.", passage).supported


def test_rejects_a_number_of_another_point_of_a_list() -> None:
    passage = (
        "The entity shall submit to the authority all of the following reports, in the form laid down: "
        "(a) within 24 hours of becoming aware of the incident, an early warning of the incident; "
        "(b) within 72 hours of becoming aware of the incident, a full notification with an assessment."
    )
    assert check("An early warning of the incident is due within 24 hours.", passage).supported
    assert not check("An early warning of the incident is due within 72 hours.", passage).supported


def test_a_far_sentence_does_not_support_what_the_nearest_contradicts() -> None:
    passage = f"{PETS} Small dogs are kept in the house by tenants of another building, if they like it."
    assert not check("Tenants may not keep a small dog in the house.", passage).supported


def test_two_neighbours_may_support_together() -> None:
    passage = (
        "The licensee shall keep records of sales. It shall also send reports of returns to the licensor."
    )
    claim = check(
        "The licensee shall keep records of sales and send reports of returns to the licensor.", passage
    )
    assert claim.supported
    assert claim.support is not None
    assert claim.support.quote == passage


def test_checks_a_claim_against_the_passage_that_it_cites() -> None:
    assert check("Cats are not allowed in the garden [2].", BREACH, PETS).supported
    wrong = check("Cats are not allowed in the garden [1].", BREACH, PETS)
    assert not wrong.supported
    assert wrong.marks == (1,)


def test_finds_the_sentence_of_a_cited_passage_among_many_that_look_alike() -> None:
    alike = [f"Cats are not allowed in the garden of house {number}." for number in range(100, 140)]
    claim = check("Cats are not allowed in the garden [41].", *alike, PETS)
    assert claim.supported
    assert claim.support is not None
    assert claim.support.passage == 40


def test_a_claim_without_marks_is_traced_to_the_best_passage() -> None:
    claim = check("Cats are not allowed in the garden.", BREACH, PETS)
    assert claim.support is not None
    assert claim.support.passage == 1


@pytest.mark.parametrize("mark", ["[0]", "[3]", "[1][9]"])
def test_reports_a_mark_that_names_no_passage(mark: str) -> None:
    claim = check(f"Cats are not allowed in the garden {mark}.", PETS, BREACH)
    assert not claim.supported
    assert claim.support is not None
    assert "there are 2 passages" in claim.reason


@pytest.mark.parametrize("passages", [[], [""], ["\n"]])
def test_supports_nothing_without_passages(passages: list[str]) -> None:
    (claim,) = check_answer("Cats are not allowed [1].", passages, embed)
    assert not claim.supported
    assert claim.support is None


def test_embeds_a_bounded_number_of_texts_in_one_call() -> None:
    counting = CountingEmbed()
    claims = check_answer("Cats are not allowed. Fees are due. " * 5, [PETS, APPEALS, BREACH] * 20, counting)
    assert len(claims) == 10
    assert len(counting.calls) == 1
    assert counting.calls[0] <= 10 + 60


def test_embeds_nothing_when_there_is_nothing_to_check() -> None:
    counting = CountingEmbed()
    assert check_answer("Sure! Is there anything else?", [PETS], counting) == []
    assert counting.calls == []
