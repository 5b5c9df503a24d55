"""Ranks the sentences of the retrieved passages by how likely they answer a question.

Does NOT include: reading across sentences or passages; a sentence answers on its own, or not at all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markgraph.validation.features import FEATURES, Embed, measure

__all__ = ["ANSWERABLE", "Embed", "Evidence", "rank_evidence"]

# Fitted by `python benchmarks/evidence.py DATA_FOLDER --fit` on 820 SQuAD questions, with and without the
# passage that answers them; scaled (Platt 1999) so that the best sentence's score is the chance that the
# passages answer the question, where half of the questions can be answered.
_WEIGHTS = {
    "cosine": 9.39,
    "covered": 7.14,
    "covered_nearby": 1.54,
    "covered_pairs": 2.08,
    "names_missing": 1.42,
    "names_missing_nearby": -3.28,
    "kind_missed": -1.82,
    "defines": 9.1,
    "defines_not": -3.0,  # these two by hand: SQuAD has hardly any case of them
    "adds_little": -3.0,
}
_BIAS = -7.88
# Keeps 90 % of the SQuAD questions that can be answered, and lets 12 % through whose passage is gone. Where
# all documents are about one thing, as with EU law, it takes 0.95 to refuse three such questions of four.
ANSWERABLE = 0.4
"""The best sentence must reach this for an answer."""


@dataclass(frozen=True)
class Evidence:
    """A stretch of a passage, `passages[passage][start:end] == quote`."""

    passage: int
    """Index into the passages, from 0."""
    start: int
    end: int
    quote: str
    """A sentence, or a lead-in with its points."""
    score: float
    """From 0 to 1."""


def rank_evidence(question: str, passages: Sequence[str], embed: Embed) -> list[Evidence]:
    """Return the sentences of `passages` most likely to answer `question`, best first.

    Calls `embed` once; sentences that share the fewest words with the question are left out before.
    Scores are chances: compare the best one with `ANSWERABLE`.
    """
    found, rows = measure(question, passages, embed)
    logits = rows @ [_WEIGHTS[name] for name in FEATURES] + _BIAS
    ranked = [
        Evidence(each.passage, each.start, each.end, each.text, 1 / (1 + math.exp(-logit)))
        for each, logit in zip(found, logits.tolist(), strict=True)
    ]
    return sorted(ranked, key=lambda evidence: -evidence.score)
