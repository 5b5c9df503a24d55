"""Checks each sentence of a draft against the passages that it cites.

Does NOT include: support that is spread over more than two neighbouring sentences, or that takes numbers from
two of them.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from markgraph.text import words
from markgraph.validation.candidates import Candidate, candidates, roots
from markgraph.validation.contradictions import contradiction
from markgraph.validation.drafts import Statement, statements
from markgraph.validation.evidence import Evidence
from markgraph.validation.features import Embed, Rarity, names
from markgraph.validation.quantities import quantities, without_numbers
from markgraph.validation.wrong_numbers import wrong_number

__all__ = ["SUPPORTED", "Claim", "check_answer"]

SUPPORTED = 0.5
"""The score that a claim must reach."""
# Set by hand: a claim whose words, and sense by cosine, agree with a sentence to less than about 0.6 is out;
# so is one with a new name. Checked by `python benchmarks/evidence.py DATA_FOLDER` on SNLI, FEVER Symmetric
# and SummEdits, where fitted weights did no better on passages held out.
_COSINE, _COVERED, _NAMES_MISSING, _BIAS = 4.0, 4.0, -6.0, -5.0
_CONTRADICTED = 0.3  # factor: ranks a contradicted claim below all supported ones, still by nearness
_AS_NEAR = 0.9  # share of the best nearness that another source needs to be heard
_NEAREST = 6  # sentences to embed for each claim: those that share most words with it
_MOST = 60  # sentences to embed in all: MiniLM takes about 10 ms for each on one core
_NOTHING = "no passage says this"


@dataclass(frozen=True)
class Claim:
    """A sentence of a draft, and what stands behind it."""

    text: str
    """Without the marks."""
    marks: tuple[int, ...]
    """The passages that the draft cites for it, from 1; may name passages that do not exist."""
    supported: bool
    score: float
    """From 0 to 1."""
    support: Evidence | None
    """The sentence, or the two neighbours, nearest to the claim, whether they support it or not."""
    reason: str
    """Why it is not supported; empty when it is."""


@dataclass(frozen=True)
class _Source:
    """One sentence, or two neighbours."""

    parts: tuple[int, ...]
    """Indices of the sentences."""
    passage: int
    start: int
    end: int
    text: str
    roots: frozenset[str]


def check_answer(draft: str, passages: Sequence[str], embed: Embed) -> list[Claim]:
    """Return the claims of `draft`, each with the best support among `passages`.

    A claim is checked against the passages that it cites ([1] is the first), or against all when it cites
    none that exist. It is supported by a sentence, or two neighbours, with nearly the same words and sense,
    every number with its unit, and no sign of contradiction; citing what does not exist is never supported.
    Questions, headings and pleasantries are no claims. Calls `embed` once, or not at all.
    """
    made = statements(draft)
    parts = candidates(passages)
    if not (made and parts):
        return [Claim(each.text, each.marks, False, 0.0, None, _NOTHING) for each in made]
    checker = _Checker(made, passages, parts, embed)
    return [checker.check(each) for each in made]


class _Checker:
    def __init__(
        self, made: list[Statement], passages: Sequence[str], parts: list[Candidate], embed: Embed
    ) -> None:
        texts = [each.text for each in made]
        self.passages = [frozenset(words(passage)) | _values(passage) for passage in passages]
        self.parts = parts
        self.rarity = Rarity.over([part.roots for part in parts])
        nearest = [self._nearest(each) for each in made]
        # Each claim's first choice before any claim's second.
        wanted = list(dict.fromkeys(i for rank in zip(*nearest, strict=True) for i in rank))[:_MOST]
        vectors = np.asarray(embed([*texts, *(parts[i].text for i in wanted)]))
        self.claims = dict(zip(texts, vectors, strict=False))
        self.vectors = dict(zip(wanted, vectors[len(texts) :], strict=True))
        self.sources = [each for each in _sources(parts, passages) if self.vectors.keys() >= set(each.parts)]

    def _nearest(self, statement: Statement) -> list[int]:
        """Return the sentences that share most words with it; those of passages that it cites go first."""
        said, cited = _sense(statement.text), self._cited(statement)
        merit = [(each.passage in cited, self.rarity.share(said, each.roots)) for each in self.parts]
        return sorted(range(len(merit)), key=lambda i: merit[i], reverse=True)[:_NEAREST]

    def _cited(self, statement: Statement) -> Collection[int]:
        """Return the passages to look at, from 0."""
        everywhere = range(len(self.passages))
        return {mark - 1 for mark in statement.marks}.intersection(everywhere) or everywhere

    def check(self, statement: Statement) -> Claim:
        """Return the claim that `statement` makes, with the source that supports it best."""
        text, marks = statement
        unknown = [mark for mark in marks if not 1 <= mark <= len(self.passages)]
        cited = self._cited(statement)
        nearness = {
            i: self._nearness(text, each) for i, each in enumerate(self.sources) if each.passage in cited
        }
        if not nearness:
            return Claim(text, marks, False, 0.0, None, _NOTHING)
        # What the nearest source contradicts, a far one does not support.
        near = [i for i in nearness if nearness[i] >= _AS_NEAR * max(nearness.values())]
        objections = {i: self._objection(text, self.sources[i]) for i in near}
        scores = {i: nearness[i] * (_CONTRADICTED if objections[i] else 1.0) for i in near}
        i = max(near, key=lambda i: scores[i])
        best, score, reason = self.sources[i], scores[i], objections[i]
        if unknown:
            reason = f"cites [{unknown[0]}], but there are {len(self.passages)} passages"
        elif score < SUPPORTED:
            reason = reason or _NOTHING
        support = Evidence(best.passage, best.start, best.end, best.text, score)
        return Claim(text, marks, not reason, score, support, reason)

    def _nearness(self, text: str, source: _Source) -> float:
        """Return how nearly `source` says the same as `text`, from 0 to 1."""
        vector = sum(self.vectors[i] for i in source.parts)
        cosine = float(self.claims[text] @ vector / (np.linalg.norm(vector) or 1.0))
        covered = self.rarity.share(_sense(text), source.roots)
        named = set(names(without_numbers(text))) | _values(text)
        missing = len(named - self.passages[source.passage]) / max(1, len(named))
        logit = _COSINE * cosine + _COVERED * covered + _NAMES_MISSING * missing + _BIAS
        return 1 / (1 + math.exp(-logit))

    def _objection(self, text: str, source: _Source) -> str:
        said = _sense(text)
        # Of two neighbours, the one that is more about the claim must give its numbers.
        closest = max((self.parts[i] for i in source.parts), key=lambda part: len(said & part.roots))
        return wrong_number(text, closest.text) or contradiction(text, source.text)


def _sense(text: str) -> frozenset[str]:
    """Return the roots of the words of `text`; its numbers are compared as numbers."""
    return roots(words(without_numbers(text)))


def _values(text: str) -> frozenset[Decimal]:
    return frozenset(quantity.value for quantity in quantities(text))


def _sources(parts: Sequence[Candidate], passages: Sequence[str]) -> Iterator[_Source]:
    """Yield each sentence and each two neighbours of a passage."""
    for i, part in enumerate(parts):
        for last in parts[i : i + 2]:
            if last.passage != part.passage:
                continue
            size = 1 if last is part else 2
            text, end = passages[part.passage], max(part.end, last.end)
            covered = part.roots | last.roots
            indices = tuple(range(i, i + size))
            yield _Source(indices, part.passage, part.start, end, text[part.start : end], covered)
