"""Asks MARK's own validator which answers it would let through, as the graph `qa` does."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.embeddings import Embeddings

from markgraph.nodes.validate import Validate
from markgraph.retrieval.types import Chunk
from markgraph.training.data.prompts import passages_of
from markgraph.validation.evidence import ANSWERABLE, rank_evidence


@dataclass(frozen=True)
class Grounding:
    """Looks at answers the way that the node `validate` does."""

    embedder: Embeddings
    answerable: float = ANSWERABLE
    _known: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def first(self, question: str, forms: Sequence[str], chunk: Chunk) -> str | None:
        """Return the first of `forms` that the validator takes for an answer that rests on `chunk`."""
        self._known.clear()
        validate = Validate(self, self.answerable)  # type: ignore[arg-type]  # it embeds documents, only
        for form in forms:
            state: Any = {"passages": passages_of([chunk]), "standalone": question, "draft": f"{form} [1]"}
            if validate(state)["verdict"]["grounded"]:
                return form
        return None

    def can_answer(self, question: str, chunks: Sequence[Chunk]) -> bool:
        """Tell whether a sentence of these passages is likely to answer `question`."""
        ranked = rank_evidence(question, [chunk.text for chunk in chunks], self.embed_documents)
        return bool(ranked) and ranked[0].score >= self.answerable

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vector of each text, remembering those of one question."""
        if missing := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known.update(zip(missing, self.embedder.embed_documents(missing), strict=True))
        return [self._known[text] for text in texts]
