"""What a question asks for."""

import pytest

from markgraph.validation.question_kind import answer_test, asks_yes_or_no, defined_term, defines


@pytest.mark.parametrize(
    ("question", "fitting", "other"),
    [
        ("Within how many hours must it be sent?", "It is due in 24 hours.", "It is due in 3 days."),
        ("How many members are there?", "There are twelve members.", "It took 12 years."),
        ("How long is the term?", "It lasts two years.", "It costs 200 EUR."),
        ("How often is it tested?", "It is tested every 3 years.", "Each test is long."),
        ("What is the maximum fine?", "Fines up to 10 000 EUR.", "Fines are possible within 3 days."),
        ("What percentage agreed?", "84% agreed.", "In 30 days all agreed."),
        ("When did it start?", "It started in 1066.", "It started well."),
        ("Who must be told?", "The authority must be told.", "It must be told."),
        ("Why did it fail?", "It failed because of rain.", "It failed here."),
    ],
)
def test_tells_sentences_that_may_answer_from_others(question: str, fitting: str, other: str) -> None:
    test = answer_test(question)
    assert test is not None
    assert test(fitting)
    assert not test(other)


def test_a_number_from_the_question_is_no_answer() -> None:
    test = answer_test("How many of the 27 members voted?")
    assert test is not None
    assert not test("The 27 members voted.")


def test_takes_anything_where_no_kind_is_asked_for() -> None:
    assert answer_test("What must the contract state?") is None


@pytest.mark.parametrize(
    ("question", "term"),
    [
        ("What does 'personal data' mean?", "personal data"),
        ("What is the definition of 'provider' in the Act?", "provider"),
        ("What is meant by dark pattern?", "dark pattern"),
        ("How is profiling defined?", "profiling"),
        ("What is a processor?", "processor"),
        ("Who pays?", None),
    ],
)
def test_finds_the_term_whose_meaning_is_asked(question: str, term: str | None) -> None:
    assert defined_term(question) == term


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("(1) ‘personal data’ means any information;", True),
        ("The term “personal data” refers to any information.", True),
        ("Personal data is any information.", True),
        ("‘special categories of personal data’ means health data;", False),
        ("It processes personal data.", False),
    ],
)
def test_knows_a_definition(sentence: str, expected: bool) -> None:
    assert defines("personal data", sentence) is expected


def test_knows_a_question_for_yes_or_no() -> None:
    assert asks_yes_or_no("May a tenant object?")
    assert not asks_yes_or_no("What may a tenant do?")
