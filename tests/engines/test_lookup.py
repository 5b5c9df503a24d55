"""Guesses are what followed the last words where they stood before."""

import random

from hypothesis import given
from hypothesis import strategies as st

from markgraph.engines.native.lookup import NGRAM, Guess, Lookup, same

NOTHING = Guess([], 0)


def test_what_followed_the_last_tokens_is_guessed() -> None:
    assert Lookup([1, 2, 3, 4, 5, 6, 9, 2, 3, 4]).guess(2) == Guess([5, 6], 3)


def test_a_text_that_grew_is_looked_up_as_it_is_now() -> None:
    tokens = [1, 2, 3, 4, 5, 6]
    lookup = Lookup(tokens)
    assert lookup.guess(2) == NOTHING
    tokens += [1, 2, 3]
    assert lookup.guess(2) == Guess([4, 5], 3)
    tokens += [4, 5]
    assert lookup.guess(2) == Guess([6, 1], 5)


def test_the_place_that_agrees_farthest_back_is_taken() -> None:
    lookup = Lookup([7, 8, 1, 2, 3, 40, 9, 9, 1, 2, 3, 50, 7, 8, 1, 2, 3])
    assert lookup.guess(1) == Guess([40], 5)


def test_of_places_that_agree_alike_the_latest_is_taken() -> None:
    lookup = Lookup([7, 1, 2, 3, 40, 8, 1, 2, 3, 50, 9, 1, 2, 3])
    assert lookup.guess(1) == Guess([50], 3)


def test_a_repetition_up_to_the_end_is_guessed_to_go_on() -> None:
    assert Lookup([4, 5, 4, 5, 4, 5]).guess(5).tokens == [4, 5, 4, 5, 4]


def test_fewer_than_three_tokens_that_agree_are_no_reason_to_guess() -> None:
    assert Lookup([1, 2, 3, 9, 2, 3]).guess(4) == NOTHING
    assert Lookup([1, 2]).guess(4) == NOTHING


def test_nothing_is_guessed_where_there_is_no_room() -> None:
    assert Lookup([1, 2, 3, 1, 2, 3]).guess(0) == NOTHING
    assert Lookup([1, 2, 3, 1, 2, 3]).guess(-1) == NOTHING


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 6))
def test_what_is_guessed_followed_the_same_tokens_before(text: list[int], most: int) -> None:
    guess = Lookup(text).guess(most)
    ends = range(NGRAM, len(text))
    places = [end for end in ends if text[end - NGRAM : end] == text[-NGRAM:]]
    if not places:
        assert guess == NOTHING
    else:
        assert len(guess.tokens) == most
        assert any(text[end : end + most] == guess.tokens[: len(text) - end] for end in places)


def test_same_counts_equal_tokens_up_to_the_first_that_differs() -> None:
    assert [same([1, 2, 3], other) for other in ([1, 2, 4], [1, 2, 3, 4], [2, 2, 3], [])] == [2, 3, 0, 0]


def test_a_text_that_grows_by_pieces_is_known_as_if_it_had_been_whole() -> None:
    choose = random.Random(0)
    text: list[int] = []
    lookup = Lookup(text)
    for _ in range(60):
        text += [choose.randrange(3) for _ in range(choose.randrange(4))]
        assert lookup.guess(4) == Lookup(list(text)).guess(4)
