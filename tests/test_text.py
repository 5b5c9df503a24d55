"""Sentences of laws, contracts, policies and chats."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markgraph.text import numbers, sentences, words

# What decides about borders, more often than random characters would have it.
_TOKENS = [
    "Art",
    "No",
    "a",
    "The",
    "1",
    "12",
    "(a)",
    "(iv)",
    ".",
    "!",
    ";",
    ":",
    ",",
    "—",
    "“",
    "”",
    ")",
    "[1]",
    "|",
    "#",
    "§",
    "e.g.",
    "U.S.",
    "é",
    "中",
    "shall",
]
PIECES = st.sampled_from([*["- ", "\n", "\n\n", "\r\n", "\t", " ", "  ", "\xa0", "\u2028", "a"], *_TOKENS])
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=120).map("".join))


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@given(TEXTS)
def test_loses_nothing_but_whitespace_and_keeps_order(text: str) -> None:
    place = 0
    for start, end in sentences(text):
        assert place <= start < end
        assert not text[place:start].strip()
        assert text[start:end] == text[start:end].strip()
        place = end
    assert not text[place:].strip()


@pytest.mark.parametrize(
    "sentence",
    [
        "See Art. 5 para. 3 and No. 7 of the list.",
        "Regulation (EC) No 300/2008 applies, e.g. to airports, i.e. not to ports.",
        "Dr. A. Smith met Mr. J. Doe at Acme Inc. in Ghent.",
        "The rate is 3.5 percent, cf. Table 2.",
        "The U.S. Supreme Court agreed.",
        "1. In the case of a breach, the controller shall act.",
        "(a) The tenant pays.",
        "Section 4. Short title.",
        "§ 28-3502. Limits.",
        "Points (a), (b) and (c) of Article 6(1) do not apply.",
        '"Why?" he asked.',
    ],
)
def test_keeps_a_sentence_whole(sentence: str) -> None:
    assert split(f"It is so. {sentence} Then it ended.") == ["It is so.", sentence, "Then it ended."]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("He said no. Then he left.", ["He said no.", "Then he left."]),
        ("Paid by Acme Inc. The rest is due.", ["Paid by Acme Inc.", "The rest is due."]),
        ("as laid down in Article 9. 3. The fee", ["as laid down in Article 9.", "3. The fee"]),
        ("We had 12. The rest left!  “Good.” Yes", ["We had 12.", "The rest left!", "“Good.”", "Yes"]),
        ("Subject-matter 1. This Act", ["Subject-matter", "1. This Act"]),
        ("Fees\n\nThe fee is due", ["Fees", "The fee is due"]),
        ("# Fees\nThe fee\nis due", ["# Fees", "The fee\nis due"]),
        ("You may:\n- sell\n- rent\n1. or\n(b) keep", ["You may:", "- sell", "- rent", "1. or", "(b) keep"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |\nNote", ["| a | b |", "|---|---|", "| 1 | 2 |", "Note"]),
    ],
)
def test_breaks_where_a_reader_would(text: str, parts: list[str]) -> None:
    assert split(text) == parts


def test_keeps_a_short_list_in_one_piece() -> None:
    text = "The notice shall state: (a) the name; (b) the date; and (c) the place."
    assert split(text) == [text]


def test_sets_the_points_of_a_long_list_apart_from_their_lead_in() -> None:
    point = "the name and the address of every person who takes part in the processing of the data"
    text = f"The notice shall state: (a) {point}; (b) {point}; or (c) {point}."
    assert split(text) == ["The notice shall state:", f"(a) {point};", f"(b) {point}; or", f"(c) {point}."]


@pytest.mark.parametrize(
    "unit",
    [
        ". ",
        "\n",
        " ",
        "1. A",
        "(a) ",
        "a",
        ".)",
        " 1. ",
        "|\n",
        "#",
        "\n ",
        "; (a) x ",
        ". \n",
        "No. 1 (a), ",
        "“.”",
    ],
)
def test_takes_time_in_proportion_to_the_text(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    started = time.perf_counter()
    sentences(text)
    assert time.perf_counter() - started < 2.0, "quadratic time would take minutes"


def test_stems_words_and_leaves_out_stopwords() -> None:
    assert words("The controllers' duties and the controller") == ["control", "duti", "control"]


def test_reads_numbers_without_thousands_separators() -> None:
    assert numbers("1,000 people, 3.5 % and 20.000 EUR") == {"1000", "3.5", "20000"}
