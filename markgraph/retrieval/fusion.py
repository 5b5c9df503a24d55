"""Turns the rankings of several indexes into one score for each chunk."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from markgraph.errors import ConfigError

RANK_CONSTANT = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke & Büttcher 2009)."""

Ranking = Mapping[str, float]
"""Scores that one part of an index gave, by id, best first."""


class Fusion(Protocol):
    """Scores chunks by what the parts of an index say of them; a higher score is better."""

    def __call__(self, rankings: Sequence[Ranking], asked: int) -> dict[str, float]:
        """Return a score for each id in `rankings`.

        Args:
            rankings: one for each part, in the order of the parts.
            asked: how many hits each part was asked for; one that gave fewer has no more.
        """


@dataclass(frozen=True)
class ReciprocalRank:
    """Adds up 1 / (60 + rank) over the parts, and looks at no score."""

    def __call__(self, rankings: Sequence[Ranking], asked: int) -> dict[str, float]:  # noqa: ARG002
        """Return the fused scores; how many hits were asked for says nothing of ranks."""
        scores: defaultdict[str, float] = defaultdict(float)
        for ranking in rankings:
            for rank, id_ in enumerate(ranking, start=1):
                scores[id_] += 1.0 / (RANK_CONSTANT + rank)
        return dict(scores)


@dataclass(frozen=True)
class Convex:
    """Adds up weighted scores, each scaled by what its part can give at least, and gave at most.

    It is TM2C2 of Bruch, Gai & Ingber (2023), "An Analysis of Fusion Functions for Hybrid Retrieval": with
    the theoretical minimum the scale does not depend on how many hits a part was asked for. A chunk that a
    part left out is no better there than the last one that it returned, and counts as that one.
    """

    weight: float = 0.91
    """The share of the first part; the others share the rest alike.

    Over cosines and BM25 the default makes the best match of words worth about 0.15 of cosine. Of twelve
    collections one, of 34 queries, has a part that ranks better alone; see `benchmarks/fusion.py`.
    """
    floors: Sequence[float] = (-1.0, 0.0)
    """The lowest score that each part can give: -1 for cosines, 0 for BM25."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ConfigError(f"Convex.weight is {self.weight}; allowed: 0 to 1, the first part's share.")

    def __call__(self, rankings: Sequence[Ranking], asked: int) -> dict[str, float]:
        """Return the fused scores, between 0 and 1.

        Raises:
            ConfigError: there are more parts than floors.
        """
        if len(rankings) > len(self.floors):
            raise ConfigError(
                f"Convex.floors has {len(self.floors)} values for {len(rankings)} parts. "
                "Give the lowest score of each part: -1 for cosines, 0 for BM25."
            )
        scores = dict.fromkeys((id_ for ranking in rankings for id_ in ranking), 0.0)
        for share, ranking, floor in zip(self._shares(len(rankings)), rankings, self.floors, strict=False):
            scaled = _scaled(ranking, floor)
            left_out = min(scaled.values(), default=0.0) if len(ranking) >= asked else 0.0
            for id_ in scores:
                scores[id_] += share * scaled.get(id_, left_out)
        return scores

    def _shares(self, parts: int) -> list[float]:
        if parts < 2:
            return [1.0] * parts
        return [self.weight, *[(1 - self.weight) / (parts - 1)] * (parts - 1)]


def _scaled(ranking: Ranking, floor: float) -> dict[str, float]:
    """Return scores with `floor` at 0 and the best at 1."""
    spread = max(ranking.values(), default=floor) - floor
    return {id_: (score - floor) / spread if spread > 0 else 1.0 for id_, score in ranking.items()}
