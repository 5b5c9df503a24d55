"""What all indexes by meaning share: their embedder, what they embed of a chunk, and its vector."""

from collections.abc import Sequence

import numpy as np
from typing_extensions import Protocol, runtime_checkable  # typing's own would read the weights, in 3.11

from markgraph.errors import ConfigError, OtherEmbedderError
from markgraph.retrieval.types import Chunk, Vectors

BATCH = 256
"""Chunks a write."""


@runtime_checkable
class Embedder(Protocol):
    """What an index needs of an embedder, beyond LangChain's `Embeddings`: a name, and how much it reads."""

    @property
    def name(self) -> str:
        """Return the same name for the same vectors."""

    @property
    def context_tokens(self) -> int:
        """Return how many tokens of a text it reads; it ignores the rest."""

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Return how many tokens each text takes, with those that mark its beginning and its end."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question."""


def check_embedder(embedder: object) -> None:
    """Refuse an embedder that an index couldn't remember, or a chunker couldn't ask.

    Raises:
        ConfigError: it lacks something.
    """
    if not isinstance(embedder, Embedder):
        raise ConfigError(
            f"The embedder is a {type(embedder).__name__}, which lacks `name`, `context_tokens` or "
            "`count_tokens`. An index remembers by name which embedder made its vectors, and chunks are "
            "cut to what it reads: subclass yours and add them."
        )


def check_built_with(place: str, built_with: str | None, embedder: Embedder) -> None:
    """Refuse vectors that another embedder made: they don't compare.

    Raises:
        OtherEmbedderError: the index at `place` was built with another embedder.
    """
    if built_with != embedder.name:
        raise OtherEmbedderError(
            f"The index in {place} was built with embedder {built_with!r}; "
            f"the config asks for {embedder.name!r}. Choose the embedder it was built with, move it to "
            "another with `markgraph reindex embedder=NAME collection=THIS`, or ingest into another "
            "collection (collection=OTHER)."
        )


def embedded_text(chunk: Chunk) -> str:
    """Return the chunk under its headings, so that a paragraph knows what it is about."""
    return "\n".join((*chunk.heading, chunk.text)) if chunk.heading else f"{chunk.title}\n{chunk.text}"


def embed(chunks: Sequence[Chunk], embedder: Embedder, vectors: Vectors | None = None) -> np.ndarray:
    """Return the vectors of `chunks`, (n, d): those that `embedder` made already, and the others made now."""
    made = dict(vectors.by_id) if vectors and vectors.embedder == embedder.name else {}
    missing = [chunk for chunk in chunks if chunk.id not in made]
    if missing:
        embedded = embedder.embed_documents([embedded_text(chunk) for chunk in missing])
        made |= zip((chunk.id for chunk in missing), embedded, strict=True)
    return np.asarray([made[chunk.id] for chunk in chunks], np.float32)


def embed_query(query: str, embedder: Embedder) -> np.ndarray:
    """Return the vector of `query`, (d,)."""
    return np.asarray(embedder.embed_query(query), np.float32)


def cosines(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the cosine of each of `vectors`, (n, d), with `query`, (d,): (n,)."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    scores: np.ndarray = vectors @ query / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scores
