"""Scores rankings against relevance judgements, as trec_eval does.

Left out: metrics over judgements of what is not relevant; what is not judged counts as not relevant.
"""

from collections.abc import Mapping, Sequence
from math import log2

Qrels = Mapping[str, int]
"""Grades of one query by document id; 0 or less is not relevant."""


def ndcg(ranked: Sequence[str], qrels: Qrels, k: int) -> float:
    """Return the normalised discounted cumulative gain of the first `k`, with the grade itself as gain."""
    ideal = sorted((grade for grade in qrels.values() if grade > 0), reverse=True)
    gains = [max(qrels.get(document, 0), 0) for document in ranked]
    best = _discounted(ideal[:k])
    return _discounted(gains[:k]) / best if best else 0.0


def recall(ranked: Sequence[str], qrels: Qrels, k: int) -> float:
    """Return which share of the relevant documents is among the first `k`."""
    relevant = _relevant(qrels)
    return len(relevant.intersection(ranked[:k])) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranked: Sequence[str], qrels: Qrels) -> float:
    """Return 1 / rank of the first relevant document, 0 where there is none; the mean of it is the MRR."""
    relevant = _relevant(qrels)
    return next((1 / rank for rank, document in enumerate(ranked, start=1) if document in relevant), 0.0)


def _relevant(qrels: Qrels) -> set[str]:
    return {document for document, grade in qrels.items() if grade > 0}


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / log2(rank + 1) for rank, gain in enumerate(gains, start=1))
