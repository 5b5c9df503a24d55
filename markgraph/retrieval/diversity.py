"""Keeps passages that say the same from taking each other's room."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from langchain_core.embeddings import Embeddings

from markgraph.errors import ConfigError
from markgraph.retrieval.types import Hit, Place


@dataclass(frozen=True)
class Diversity:
    """Maximal marginal relevance (Carbonell & Goldstein 1998).

    The next passage is the one with the highest `relevance * score - (1 - relevance) * nearness`: its score
    in the search, scaled to between 0 and 1, and its cosine to the nearest passage that was chosen before.
    """

    embedder: Embeddings
    relevance: float = 0.7
    """1 changes nothing, 0 looks at nothing but differences."""

    def __post_init__(self) -> None:
        if not 0 <= self.relevance <= 1:
            raise ConfigError(f"Diversity.relevance is {self.relevance}; allowed: 0 to 1.")

    def __call__(self, hits: Sequence[Hit], k: int) -> list[Hit]:
        """Return at most `k` of `hits` as they are chosen; the score is the marginal one."""
        if not hits:
            return []
        texts = [hit.chunk.text for hit in hits]
        vectors = np.asarray(self.embedder.embed_documents(texts), dtype=np.float32)  # (n, d)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12
        relevance = self.relevance * _scaled([hit.score for hit in hits])  # (n,)
        nearest = np.zeros(len(hits))  # (n,) cosine to what was chosen; opposites count as merely different
        open_ = np.ones(len(hits), dtype=bool)
        chosen: list[Hit] = []
        while len(chosen) < min(k, len(hits)):
            marginal = np.where(open_, relevance - (1 - self.relevance) * nearest, -np.inf)  # (n,)
            at = int(marginal.argmax())
            open_[at] = False
            nearest = np.maximum(nearest, vectors @ vectors[at])
            score = float(marginal[at])
            place = Place("diversity", len(chosen) + 1, score)
            chosen.append(replace(hits[at], score=score, places=(*hits[at].places, place)))
        return chosen


def _scaled(scores: Sequence[float]) -> "np.ndarray":
    """Return scores with the lowest at 0 and the highest at 1; alike ones are all 1."""
    values = np.asarray(scores, dtype=np.float32)
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0 else np.ones_like(values)
