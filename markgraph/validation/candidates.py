"""Cuts passages into the pieces that may stand as evidence."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from markgraph.text import sentences, words

# Characters that a lead-in ("The following ... shall be prohibited:") may be quoted with: itself and its
# first points, since neither says much alone.
_LEAD_IN_LENGTH = 700
_HEADING_WORDS = 20
_LISTED = re.compile(r"[-*•–>|]|\(?\w{1,3}[.)]\s")
_ROOT = 5  # letters: "notified" and "notification" share no stem, but their first five


@dataclass(frozen=True)
class Candidate:
    """A sentence, or a lead-in with its points, by its place in the passages."""

    passage: int
    start: int
    end: int
    text: str

    @cached_property
    def stems(self) -> list[str]:
        """Return its stemmed words."""
        return words(self.text)

    @cached_property
    def roots(self) -> frozenset[str]:
        """Return the first letters of its stems."""
        return roots(self.stems)


def roots(stems: Sequence[str]) -> frozenset[str]:
    """Return the first letters of `stems`, coarser than the stems."""
    return frozenset(stem[:_ROOT] for stem in stems)


def candidates(passages: Sequence[str], lead_ins: bool = True) -> list[Candidate]:
    """Return the sentences of `passages` that say something, in order; headings and stray marks do not.

    With `lead_ins`, a sentence that ends in a colon is quoted with the points that follow it.
    """
    return [
        candidate
        for i, text in enumerate(passages)
        for candidate in _of_passage(i, text, lead_ins)
        if candidate.stems
    ]


def _of_passage(passage: int, text: str, lead_ins: bool) -> Iterator[Candidate]:
    spans = sentences(text)
    for i, (start, end) in enumerate(spans):
        if len(spans) > 1 and _is_heading(text[start:end]):
            continue
        if lead_ins and text[end - 1] in ":—–":
            end = max([end, *(later for _, later in spans[i + 1 :] if later - start <= _LEAD_IN_LENGTH)])
        yield Candidate(passage, start, end, text[start:end])


def _is_heading(text: str) -> bool:
    if text.startswith("#"):
        return True
    unfinished = text[-1].isalnum() and ":" not in text and not _LISTED.match(text)
    return unfinished and len(text.split()) <= _HEADING_WORDS
