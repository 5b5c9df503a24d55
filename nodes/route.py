"""Chooses the expert for a question."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from markgraph.security.effects import Effect, does
from markgraph.state import GENERAL, QAState


@dataclass(frozen=True)
class Domain:
    """A field of questions, known by examples."""

    examples: tuple[str, ...]
    instructions: str = ""
    """What the model is told on top of its general instructions."""


@does(Effect.READS_PRIVATE)
@dataclass(frozen=True)
class Route:
    """Picks the domain whose nearest example is most like the question, by cosine."""

    embedder: Embeddings
    domains: Mapping[str, Domain]
    threshold: float = 0.35
    """A question below this cosine to every example is `general`, or stays where its thread was."""

    def __call__(self, state: QAState) -> dict[str, Any]:
        """Return the domain's name."""
        fallback = state["domain"] if state.get("history") else GENERAL
        if not self._examples:
            return {"domain": fallback}
        question = np.array(self.embedder.embed_query(state["question"]))  # (d,)
        scores = {name: float((rows @ question).max()) for name, rows in self._examples.items()}
        best = max(scores, key=scores.__getitem__)
        return {"domain": best if scores[best] >= self.threshold else fallback}

    @cached_property
    def _examples(self) -> dict[str, np.ndarray]:
        """Each domain's example vectors, (n, d)."""
        return {
            name: np.array(self.embedder.embed_documents(list(domain.examples)))
            for name, domain in self.domains.items()
            if domain.examples
        }
