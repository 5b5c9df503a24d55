"""Fits the weight of a hybrid index to judged queries, and says whether that gains anything.

The weight is chosen on all queries. What it is worth is estimated by cross-validation: each query is
scored with the weight that was chosen without it, so that a lucky choice is not taken for a good one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from markgraph.evaluation.beir import Dataset, Text
from markgraph.evaluation.intervals import Interval, interval_of
from markgraph.evaluation.metrics import ndcg
from markgraph.retrieval.fusion import Convex, Fusion, Ranking
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller

WEIGHTS = (*(step / 10 for step in range(8)), *(0.8 + step / 50 for step in range(11)))
"""Finer at the upper end: scaled cosines differ little, so that their share is a high one."""
FOLDS = 5
SEED = 0


@dataclass(frozen=True)
class Asked:
    """What the parts of an index returned for a query."""

    query: str
    rankings: Sequence[Ranking]
    documents: Mapping[str, str]
    """Id of the document that each chunk is from."""


@dataclass(frozen=True)
class Fit:
    """A weight, and what it is worth."""

    curve: dict[float, float]
    """nDCG@10 by weight, over all queries."""
    weight: float
    """The middle of the best stretch of the curve."""
    before: Interval
    """nDCG@10 with the weight that is configured now."""
    cross_validated: Interval
    """nDCG@10 of queries that had no say in their weight."""
    gain: Interval
    """Cross-validated against configured, query by query."""

    @property
    def gains(self) -> bool:
        """Tell whether more than chance speaks for a gain."""
        return self.gain.low > 0


def ask_parts(parts: Sequence[Index], query: Text, caller: Caller, depth: int) -> Asked:
    """Return what each of `parts` finds for a query."""
    found = [part.search(query.text, caller, depth) for part in parts]
    rankings = [{hit.chunk.id: hit.score for hit in hits} for hits in found]
    return Asked(query.id, rankings, {hit.chunk.id: hit.chunk.source for hits in found for hit in hits})


def fit(asked: Sequence[Asked], dataset: Dataset, current: Convex, depth: int) -> Fit:
    """Return the weight that ranks best, and what it is worth.

    Args:
        current: what is configured now.
        depth: how many hits each part was asked for.
    """
    weights = sorted({round(weight, 3) for weight in WEIGHTS} | {current.weight})
    fusions = [replace(current, weight=weight) for weight in weights]
    table = np.array([gains_of(asked, dataset, fusion, depth) for fusion in fusions])  # (w, n)
    before = np.array(gains_of(asked, dataset, current, depth))  # (n,)
    held_out = cross_validate(table)
    return Fit(
        curve=dict(zip(weights, (round(float(mean), 4) for mean in table.mean(axis=1)), strict=True)),
        weight=weights[choose(table.mean(axis=1))],
        before=interval_of(before.tolist()),
        cross_validated=interval_of(held_out.tolist()),
        gain=interval_of((held_out - before).tolist()),
    )


def cross_validate(table: "np.ndarray") -> "np.ndarray":
    """Return for each query its score under the row that was chosen on the other folds; `table` is (w, n)."""
    queries = table.shape[1]
    folds = np.random.default_rng(SEED).permutation(queries) % min(FOLDS, queries)
    scores = np.empty(queries)
    for fold in range(folds.max() + 1):
        rest = folds != fold if folds.max() else folds == fold
        scores[folds == fold] = table[choose(table[:, rest].mean(axis=1)), folds == fold]
    return scores


def choose(means: "np.ndarray") -> int:
    """Return the row in the middle of the stretch around the best that is within 0.001 of it."""
    best = int(means.argmax())
    first = last = best
    while first > 0 and means[first - 1] >= means[best] - 0.001:
        first -= 1
    while last < len(means) - 1 and means[last + 1] >= means[best] - 0.001:
        last += 1
    return (first + last) // 2


def gains_of(asked: Sequence[Asked], dataset: Dataset, fusion: Fusion, depth: int) -> list[float]:
    """Return nDCG@10 of each query."""
    found = []
    for each in asked:
        scores = fusion(each.rankings, depth)
        chunks = sorted(scores, key=lambda id_: (-scores[id_], id_))
        documents = list(dict.fromkeys(each.documents[id_] for id_ in chunks))
        found.append(ndcg(documents, dataset.qrels[each.query], 10))
    return found
