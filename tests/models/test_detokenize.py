"""Text comes as soon as it is certain, whole characters only, and without the stop strings."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.models.detokenize import Detokenizer
from tests.engines.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
"""Three people joined by two joiners, 18 bytes, a token each."""


def pieces(text: str, stop: tuple[str, ...] = ()) -> list[str]:
    detokenizer = Detokenizer(TOKENIZER, stop)
    found = []
    for token in TOKENIZER(text, add_special_tokens=False).input_ids:
        found.append(detokenizer.push(token))
        if detokenizer.stopped:
            return found
    return [*found, detokenizer.flush()]


@given(st.text(max_size=60))
@settings(deadline=None)
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text.rstrip("\ufffd")


@given(
    st.text("abcé日👍 \n", max_size=30),
    st.lists(st.text("abcé日👍 \n", min_size=1, max_size=4), max_size=3).map(tuple),
)
@settings(deadline=None, max_examples=150)
def test_the_text_ends_before_the_first_stop_string(text: str, stop: tuple[str, ...]) -> None:
    # Of stop strings that are complete after the same token, the one that begins first counts.
    found = "".join(pieces(text, stop))
    assert text.startswith(found)
    assert not any(mark in found for mark in stop)
    if not any(mark in text for mark in stop):
        assert found == text
    else:
        assert any(text.startswith(mark, len(found)) for mark in stop)


@pytest.mark.parametrize("text", ["naïve café", "日本語", FAMILY, f"a{FAMILY}b", "👍🏽"])
def test_no_piece_holds_half_a_character(text: str) -> None:
    found = pieces(text)
    assert "".join(found) == text
    assert not any("\ufffd" in piece for piece in found)


def test_text_is_not_held_back_without_need() -> None:
    found = pieces("the user asks")
    assert len([piece for piece in found if piece]) > 2
    assert found[-1] == ""


def test_a_character_cut_by_the_token_limit_is_dropped() -> None:
    detokenizer = Detokenizer(TOKENIZER)
    tokens = TOKENIZER("ok 👍").input_ids[:-1]
    assert "".join([*map(detokenizer.push, tokens), detokenizer.flush()]) == "ok "


def test_the_beginning_of_a_stop_string_comes_when_it_was_none() -> None:
    found = pieces("xEN yEND z", ("END",))
    assert "".join(found) == "xEN y"
    assert not any(first.endswith("E") for first, _ in pairwise(found))


def test_an_empty_stop_string_stops_nothing() -> None:
    assert "".join(pieces("hello", ("",))) == "hello"


def test_control_tokens_are_no_text_but_count() -> None:
    detokenizer = Detokenizer(TOKENIZER)
    assert detokenizer.push(TOKENIZER.convert_tokens_to_ids("<file_sep>")) == ""
    assert detokenizer.tokens == 1
