"""Knows how many tokens any stretch of a document takes, without tokenizing each candidate."""

import re
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate

from markgraph.retrieval.dense import Embedder

LONGEST_PIECE = 40
"""Characters; a longer run without a space or ASCII punctuation (Chinese, base64) is counted by character."""
_EDGE = r"\s!-/:-@\[-`{-~"
_PIECE = re.compile(rf"(?<![^{_EDGE}])[^{_EDGE}]{{1,{LONGEST_PIECE}}}+(?![^{_EDGE}])|\S")


@dataclass(frozen=True)
class TokenCounts:
    """Running counts of a text's tokens, at the borders of its words.

    Rests on what tokenizers have in common: a text takes no more tokens than its words and punctuation
    marks do one by one. For BERT's, the two are equal.
    """

    starts: "array[int]"
    """Offset of each word or mark."""
    ends: "array[int]"
    totals: "array[int]"
    """Tokens of all words before each, and of all."""

    @classmethod
    def of(cls, text: str, embedder: Embedder) -> "TokenCounts":
        """Count each different word of `text` once."""
        starts, ends, kinds = array("q"), array("q"), array("q")
        known: dict[str, int] = {}
        for match in _PIECE.finditer(text):
            starts.append(match.start())
            ends.append(match.end())
            kinds.append(known.setdefault(match[0], len(known)))
        counts = count_inner(list(known), embedder)
        return cls(starts, ends, array("q", accumulate((counts[kind] for kind in kinds), initial=0)))

    def between(self, start: int, end: int) -> int:
        """Return how many tokens `text[start:end]` takes at most; a word that is cut counts whole."""
        first = bisect_right(self.ends, start)
        last = bisect_left(self.starts, end, first)
        return self.totals[last] - self.totals[first]

    def reach(self, start: int, tokens: int) -> int:
        """Return the start of the last word before which the text from `start` takes at most `tokens`.

        That is the end of the text when all of it does, and `start` when not even the first word does.
        """
        first = bisect_right(self.ends, start)
        last = bisect_right(self.totals, self.totals[first] + tokens) - 1
        if last == first:
            return start
        return self.starts[last] if last < len(self.starts) else self.ends[-1]


def count_inner(texts: list[str], embedder: Embedder) -> list[int]:
    """Return how many tokens each text takes within a longer one: what begins and ends a text is left out."""
    around, *counts = embedder.count_tokens(["", *texts])
    return [count - around for count in counts]
