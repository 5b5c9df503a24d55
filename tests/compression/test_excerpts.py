"""Excerpts are whole sentences, in order, under their own passage, and the ones that answer."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.compression.excerpts import excerpt
from markgraph.models.embed import HashEmbeddings
from markgraph.text import sentences


def words(text: str) -> int:
    return len(text.split())


def short(question: str, texts: list[str], room: int, **options: Any) -> list[str]:
    options = {"count": words, "embed": HashEmbeddings().embed_documents} | options
    return excerpt(question, texts, room, **options)


CATS = "Cats sleep all day. Dogs bark."
DUE = "Payment is due in thirty days."


def test_what_fits_is_left_alone_and_nothing_is_embedded() -> None:
    assert short("payment", [CATS, DUE], 12 + 2, embed=lambda texts: pytest.fail(str(texts))) == [CATS, DUE]


def test_leaves_a_passage_out_rather_than_cut_a_sentence() -> None:
    assert short("When is payment due?", [CATS, f"{DUE} Or so."], 8) == ["", DUE]


def test_a_rare_word_counts_more_than_a_common_one() -> None:
    texts = [
        "The fee is high here.",
        "The fee is low here.",
        "The fee of escrow here.",
        "A fee was paid here.",
    ]
    assert short("Is there a fee for escrow?", texts, 7) == ["", "", texts[2], ""]


def test_a_sentence_that_begins_with_a_pronoun_brings_the_one_before() -> None:
    text = "The notary keeps the deed. He must register the escrow within a week. Cats sleep. Dogs bark."
    assert short("When must the escrow be registered?", [text], 17) == [text[: text.index(" Cats")]]


def test_it_comes_alone_where_the_other_does_not_fit() -> None:
    text = "The notary keeps the deed of the land. He must register the escrow. Cats sleep."
    assert short("When must the escrow be registered?", [text], 8) == ["He must register the escrow."]


def test_neighbours_stay_as_they_stand_and_gaps_are_lines() -> None:
    text = "Payment is due.\n\nPayment is late. Dogs bark at the night and more. Payment is made."
    assert short("payment", [text], 14) == ["Payment is due.\n\nPayment is late.\nPayment is made."]


def test_sentences_without_spaces_between_them_are_told_apart() -> None:
    text = "\u7b2c\u4e00\u6761\u3002\u4ed8\u6b3e 30 \u5929\u3002\u7b2c\u4e09\u6761\u3002"
    assert short("30 \u5929", [text], 14, count=len) == [text[4:12]]


def test_a_title_is_paid_for_once() -> None:
    titles = ["a long title of six words", "T"]
    text = "Payment is due. Payment is late."
    assert short("payment", [text, CATS], 8 + 7, titles=titles) == [text, ""]
    assert short("payment", [text, CATS], 7, titles=titles)[0] == ""


@settings(deadline=None)
@given(st.lists(st.text("ab .It\n", max_size=80), max_size=6), st.integers(-3, 60))
def test_keeps_to_the_budget_and_only_copies_whole_sentences_in_order(texts: list[str], room: int) -> None:
    kept = short("a b", texts, room)
    assert len(kept) == len(texts)
    assert sum(map(words, kept)) <= max(room, 0) or kept == texts
    for excerpted, text in zip(kept, texts, strict=True):
        whole = ["".join(text[start:end].split()) for start, end in sentences(text)]
        rest = "".join(excerpted.split())
        for sentence in whole:
            rest = rest.removeprefix(sentence)
        assert not rest or excerpted == text
