"""Measures how a sentence meets a question; `evidence` weighs the measures."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from markgraph.text import words
from markgraph.validation.candidates import Candidate, candidates, roots
from markgraph.validation.question_kind import (
    answer_test,
    asks_meaning,
    asks_yes_or_no,
    defined_term,
    defines,
)

Embed = Callable[[list[str]], list[list[float]]]
"""Turns texts into vectors of length 1, in the same order."""

# Sentences to embed, MiniLM taking 10 to 30 ms for each on one core; 40 gave the same figures.
POOL = 16
FEATURES = (
    "cosine",  # of question and sentence
    "covered",  # share of the question's words that the sentence has, rare ones counting more
    "covered_nearby",  # ... that its passage has
    "covered_pairs",  # ... of its pairs of neighbouring words that the sentence has
    "names_missing",  # share of the question's names and numbers that the sentence lacks
    "names_missing_nearby",  # ... that its passage lacks
    "kind_missed",  # 1 if the question asks for a duration, a person, ... and the sentence has none
    "defines",  # 1 if the sentence defines the term that is asked about
    "defines_not",  # 1 if the question says "mean" or "definition", and the sentence defines no such term
    "adds_little",  # 1 if the sentence has hardly a word that the question has not, unless yes or no is asked
)
# Words that shape a question, not its topic.
_FILLER = frozenset(words("name type kind many much often call called term known refer happen describe"))
_NEW_WORDS = 2
# Added to what could be covered, in words: with one word, full coverage says little ("cancel it").
_PRIOR_WORDS = 1.0
# Not the first word: any word may open a sentence.
_NAME = re.compile(r"(?<=\s)[‘'\"“(]?[A-Z][\w’'-]*|\b\d[\d.,]*\b")
_NEARBY, _LATER = 0.5, 0.02  # when pre-selecting by words: bonus for the passage's words, malus for its rank


def names(text: str) -> list[str]:
    """Return the stems of the names and numbers in `text`."""
    return words(" ".join(_NAME.findall(text)))


@dataclass(frozen=True)
class Rarity:
    """Inverse frequency of words among the sentences at hand (BM25's, Robertson & Zaragoza 2009)."""

    counts: Counter[str]
    total: int

    @classmethod
    def over(cls, texts: Collection[Iterable[str]]) -> "Rarity":
        return cls(Counter(word for text in texts for word in set(text)), len(texts))

    def weigh(self, words: Iterable[str]) -> float:
        return sum(math.log(1 + self.total / (0.5 + self.counts[word])) for word in words)

    def share(self, wanted: Collection[str], present: Collection[str], prior_words: float = 0.0) -> float:
        """Return the weight of `wanted` that is `present`, from 0 to 1."""
        whole = self.weigh(wanted) + prior_words * math.log(1 + self.total / 1.5)
        return self.weigh(word for word in wanted if word in present) / whole if wanted else 0.0


def measure(
    question: str, passages: Sequence[str], embed: Embed, pool: int = POOL
) -> tuple[list[Candidate], npt.NDArray[np.float64]]:
    """Return the `pool` sentences nearest to `question` by words, and a row of `FEATURES` for each.

    Calls `embed` once.
    """
    found = candidates(passages)
    if not found:
        return [], np.zeros((0, len(FEATURES)))
    texts = [words(text) for text in passages]
    reader = _Reader(question, found, texts)
    found = sorted(found, key=reader.priority, reverse=True)[:pool]
    vectors = np.asarray(embed([question, *(candidate.text for candidate in found)]))
    cosines = vectors[1:] @ vectors[0]
    rows = [[float(cosine), *reader.read(each)] for cosine, each in zip(cosines, found, strict=True)]
    return found, np.array(rows)


class _Reader:
    """Reads sentences with one question in mind."""

    def __init__(self, question: str, found: list[Candidate], passages: list[list[str]]) -> None:
        asked = [word for word in words(question) if word not in _FILLER]
        self.roots = roots(asked)
        self.pairs = list(pairwise(asked))
        self.names = frozenset(names(question))
        self.passages = [(frozenset(stems), roots(stems)) for stems in passages]
        self.stem_rarity = Rarity.over([each.stems for each in found])
        self.root_rarity = Rarity.over([each.roots for each in found])
        self.test = answer_test(question)
        self.term = defined_term(question)
        self.asks_yes_or_no = asks_yes_or_no(question)
        self.asks_meaning = asks_meaning(question)

    def priority(self, candidate: Candidate) -> float:
        """Return how much a sentence deserves to be embedded, judged by its words."""
        _, nearby = self.passages[candidate.passage]
        covered = self.root_rarity.share(self.roots, candidate.roots)
        covered_nearby = self.root_rarity.share(self.roots, nearby)
        defined = self.term is not None and defines(self.term, candidate.text)
        return defined + covered + _NEARBY * covered_nearby - _LATER * candidate.passage

    def read(self, candidate: Candidate) -> list[float]:
        """Return `FEATURES` without the first."""
        nearby_stems, nearby_roots = self.passages[candidate.passage]
        share = self.root_rarity.share
        defined = self.term is not None and defines(self.term, candidate.text)
        return [
            share(self.roots, candidate.roots, _PRIOR_WORDS),
            share(self.roots, nearby_roots, _PRIOR_WORDS),
            self._covered_pairs(candidate),
            1 - self.stem_rarity.share(self.names, candidate.stems) if self.names else 0.0,
            1 - self.stem_rarity.share(self.names, nearby_stems) if self.names else 0.0,
            float(self.test is not None and not self.test(candidate.text)),
            float(defined),
            float(self.asks_meaning and not defined),
            float(self._adds_little(candidate)),
        ]

    def _adds_little(self, candidate: Candidate) -> bool:
        new = [root for root in candidate.roots - self.roots if len(root) > 1]
        return len(new) < _NEW_WORDS and not self.asks_yes_or_no

    def _covered_pairs(self, candidate: Candidate) -> float:
        present = set(pairwise(candidate.stems))
        weights = [self.stem_rarity.weigh(pair) for pair in self.pairs]
        covered = sum(w for w, pair in zip(weights, self.pairs, strict=True) if pair in present)
        return covered / sum(weights) if weights else 0.0
