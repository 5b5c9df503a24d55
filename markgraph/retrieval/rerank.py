"""Reads question and passage together, and orders passages by what that says."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from markgraph.errors import ConfigError
from markgraph.models.learned import resolve_for_all
from markgraph.retrieval.types import Chunk, Hit, Place

if TYPE_CHECKING:
    import torch


LEAST_TOKENS = 8
"""As many of a pair are read, at least."""


class Reranker(Protocol):
    """Says how relevant each text is to a question; a higher score is better."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score for each text."""


@dataclass
class CrossEncoder:
    """Scores pairs with a sequence classifier over question and passage (Nogueira & Cho 2019).

    With one label its logit is the score; with two, the log-odds of the second. Weights are read at the
    first use, not before.
    """

    source: str
    """Reference to the model's folder, as `markgraph.models.source.resolve` takes it."""
    sha256: str | None = None
    max_tokens: int = 512
    """Longer pairs lose the end of their passage, here or at the model's own limit."""
    batch_size: int = 16
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        allowed = {"max_tokens": LEAST_TOKENS, "batch_size": 1}
        for name, least in allowed.items():
            if (value := vars(self)[name]) < least:
                raise ConfigError(f"CrossEncoder.{name} is {value}; allowed: {least} or more.")

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Return one score for each text."""
        scores: dict[int, float] = {}
        # Texts of like length together: a batch is padded to its longest.
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        with self._lock:
            for begin in range(0, len(order), self.batch_size):
                batch = order[begin : begin + self.batch_size]
                scored = self._score(query, [texts[at] for at in batch]).tolist()
                scores |= zip(batch, scored, strict=True)
        return [scores[at] for at in range(len(texts))]

    def _score(self, query: str, texts: list[str]) -> "torch.Tensor":
        import torch

        tokenizer, model = self._loaded
        room = self._room
        ids = tokenizer(query, add_special_tokens=False)["input_ids"]
        if len(ids) > room // 2:  # or there would be no passage left to cut
            query = tokenizer.decode(ids[: room // 2])
        batch = tokenizer(
            [query] * len(texts),
            texts,
            padding=True,
            truncation="only_second" if len(ids) <= room // 2 else "longest_first",
            max_length=room,
            return_tensors="pt",
        )
        with torch.inference_mode():
            logits: torch.Tensor = model(**batch).logits  # (b, labels)
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]  # (b,)

    @property
    def _room(self) -> int:
        """Return how many tokens a pair may have."""
        tokenizer, model = self._loaded
        positions = getattr(model.config, "max_position_embeddings", None) or self.max_tokens
        return int(min(self.max_tokens, tokenizer.model_max_length, positions))

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from markgraph.models.weights import load_cross_encoder

        return load_cross_encoder(resolve_for_all(self.source, self.sha256))


def rerank(hits: Sequence[Hit], query: str, reranker: Reranker, searched: str) -> list[Hit]:
    """Return `hits` in the order of the reranker's scores; their old ranks are kept in their places.

    Args:
        searched: the name of the index that they are from.
    """
    scores = reranker.scores(query, [_read_text(hit.chunk) for hit in hits])
    found = zip(hits, scores, range(1, len(hits) + 1), strict=True)
    best = sorted(found, key=lambda each: -each[1])
    return [
        replace(
            hit,
            score=score,
            places=(*hit.places, Place(searched, before, hit.score), Place("rerank", rank, score)),
        )
        for rank, (hit, score, before) in enumerate(best, start=1)
    ]


def _read_text(chunk: Chunk) -> str:
    """Return the chunk under its headings, so that a paragraph says what it is about."""
    return "\n".join((*(chunk.heading or (chunk.title,)), chunk.text)).strip()
