"""Guesses how an answer goes on from what stands in its prompt: answers copy from their sources.

Source: prompt lookup decoding, Saxena 2023.
"""

from itertools import takewhile
from typing import NamedTuple

NGRAM = 3
"""Tokens that must stand alike: fewer match by chance (measured)."""
CANDIDATES = 8
"""Of so many places, the latest, the one is taken that agrees farthest back."""
FARTHEST = 16


class Guess(NamedTuple):
    """Tokens that may come next."""

    tokens: list[int]
    agreed: int
    """How many tokens before them stand alike in both places."""


class Lookup:
    """Finds where the last tokens of a text stand earlier in it, and says what followed there.

    Args:
        tokens: the text; it may grow between two guesses.
    """

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens
        self._places: dict[tuple[int, ...], list[int]] = {}
        self._next = NGRAM
        """The n-grams that end before this place are known."""

    def guess(self, most: int) -> Guess:
        """Return at most so many tokens; none where the last n-gram stands nowhere else."""
        tokens = self._tokens
        for place in range(self._next, len(tokens)):
            self._places.setdefault(tuple(tokens[place - NGRAM : place]), []).append(place)
        self._next = max(self._next, len(tokens))
        places = self._places.get(tuple(tokens[-NGRAM:]), [])[-CANDIDATES:]
        if not places or most <= 0:
            return Guess([], 0)
        agreed, place = max((self._agreed(place), place) for place in places)
        after = tokens[place : place + most]
        # Fewer than asked for where the text repeats itself up to its end: it will go on to.
        return Guess([after[index % len(after)] for index in range(most)], agreed)

    def _agreed(self, place: int) -> int:
        """Return how many tokens before `place` equal the last ones of the text."""
        tokens, end = self._tokens, len(self._tokens)
        agreed = NGRAM
        while agreed < min(FARTHEST, place) and tokens[place - 1 - agreed] == tokens[end - 1 - agreed]:
            agreed += 1
        return agreed


def same(guess: list[int], chosen: list[int]) -> int:
    """Return how many tokens at the beginning of both are the same."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(guess, chosen, strict=False))
    return sum(1 for _ in pairs)
