"""Measures how well, and how fast, retrievers rank documents.

A document is as good as its best chunk (max-P, Dai & Callan 2019).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from time import perf_counter
from typing import Any

from markgraph.evaluation.beir import Dataset, Text
from markgraph.evaluation.intervals import Interval, interval_of
from markgraph.evaluation.metrics import Qrels, ndcg, recall, reciprocal_rank
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.search import Refine, find_refined
from markgraph.retrieval.types import Hit, Index
from markgraph.security.caller import Caller

METRICS: dict[str, Callable[[Sequence[str], Qrels], float]] = {
    "ndcg@10": lambda ranked, qrels: ndcg(ranked, qrels, 10),
    "recall@10": lambda ranked, qrels: recall(ranked, qrels, 10),
    "recall@100": lambda ranked, qrels: recall(ranked, qrels, 100),
    "mrr": reciprocal_rank,
}
RERANKED = "+rerank"
WARM_UP = 2
"""Queries that each retriever is asked beforehand: the first loads weights and statistics."""


@dataclass(frozen=True)
class Retriever:
    """An index, or a part of one, with what is done to its hits."""

    name: str
    index: Index
    refine: Refine | None = None

    def __call__(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` hits, best first."""
        return find_refined(self.index, query, caller, k, self.refine)


@dataclass(frozen=True)
class Ranked:
    """What a retriever found for a query."""

    retriever: str
    query: str
    documents: list[str]
    """Ids, best first."""
    ms: float


def retrievers_of(index: Index, refine: Refine | None) -> list[Retriever]:
    """Return the parts of an index, the index, and the index with its hits refined, as far as there are."""
    parts = index.parts if isinstance(index, HybridIndex) else []
    found = [*(Retriever(part.name, part) for part in parts), Retriever(index.name, index)]
    return [*found, Retriever(f"{index.name}{RERANKED}", index, refine)] if refine else found


def rank(
    retrievers: Sequence[Retriever], queries: Iterable[Text], caller: Caller, *, k: int, chunks: int
) -> Iterator[list[Ranked]]:
    """Ask each retriever each query, in turns, so that a busy moment disturbs them alike; yield by query.

    Args:
        k: how many documents are ranked.
        chunks: how many chunks a retriever is asked for.
    """
    queries = list(queries)
    for retriever in retrievers:
        for query in queries[:WARM_UP]:
            retriever(query.text, caller, chunks)
    for query in queries:
        found = []
        for retriever in retrievers:
            began = perf_counter()
            hits = retriever(query.text, caller, chunks)
            ms = (perf_counter() - began) * 1000
            found.append(Ranked(retriever.name, query.id, best_documents(hits, k), round(ms, 2)))
        yield found


def best_documents(hits: Iterable[Hit], k: int) -> list[str]:
    """Return the first `k` documents of hits that come best first."""
    return list(dict.fromkeys(hit.chunk.source for hit in hits))[:k]


def rows_of(ranked: Sequence[Ranked], dataset: Dataset) -> list[dict[str, Any]]:
    """Return a row of figures for each retriever: those of `output=json`."""
    names = list(dict.fromkeys(each.retriever for each in ranked))
    runs = {name: [each for each in ranked if each.retriever == name] for name in names}
    gains = {name: [_ndcg(each, dataset) for each in run] for name, run in runs.items()}
    parts = [name for name in names if name != "hybrid" and not name.endswith(RERANKED)]
    best = max(parts, key=lambda name: sum(gains[name]), default=None)
    return [_row(name, run, dataset) | _difference(gains, name, best) for name, run in runs.items()]


def _ndcg(ranked: Ranked, dataset: Dataset) -> float:
    return METRICS["ndcg@10"](ranked.documents, dataset.qrels[ranked.query])


def _row(name: str, run: Sequence[Ranked], dataset: Dataset) -> dict[str, Any]:
    row: dict[str, Any] = {"retriever": name}
    intervals = {}
    for metric, measure in METRICS.items():
        interval = interval_of([measure(each.documents, dataset.qrels[each.query]) for each in run])
        row[metric] = round(interval.mean, 4)
        intervals[metric] = [round(interval.low, 4), round(interval.high, 4)]
    times = sorted(each.ms for each in run)
    return row | {
        "p50_ms": percentile(times, 50),
        "p95_ms": percentile(times, 95),
        "intervals": intervals,
        "queries": len(run),
    }


def _difference(gains: Mapping[str, Sequence[float]], name: str, best: str | None) -> dict[str, Any]:
    """Return how a fused or refined ranking stands to the best part, query by query."""
    if best is None or name == best or not (name == "hybrid" or name.endswith(RERANKED)):
        return {"difference": None}
    found: Interval = interval_of([one - other for one, other in zip(gains[name], gains[best], strict=True)])
    low, high = round(found.low, 4), round(found.high, 4)
    return {"difference": {"to": best, "ndcg@10": round(found.mean, 4), "interval": [low, high]}}


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of the values are below."""
    if len(values) == 1:
        return values[0]
    return round(quantiles(values, n=100, method="inclusive")[percent - 1], 2)
