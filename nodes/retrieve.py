"""Finds the passages that a caller may read."""

from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from markgraph.errors import ConfigError
from markgraph.retrieval.search import find_hits
from markgraph.retrieval.types import Hit, Index
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Resource
from markgraph.state import Passage, QAState


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED)
@dataclass(frozen=True)
class Retrieve:
    """Asks the index with the caller's permissions, and checks each hit once more."""

    index: Index
    k: int = 12
    """How many passages."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"Retrieve.k is {self.k}; allowed: 1 or more.")

    def needs(self, state: QAState) -> list[Need]:  # noqa: ARG002
        """Return the permission to read; which documents, the index decides for each."""
        return [Need("documents:read", Resource("index", self.index.name))]

    def __call__(self, state: QAState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the passages, best first.

        Raises:
            EmptyIndexError: nothing was ever ingested.
        """
        return {"passages": find_passages(self.index, state["standalone"], caller_of(runtime), self.k)}


def find_passages(index: Index, query: str, caller: Caller, k: int) -> list[Passage]:
    """Return at most `k` passages for `query` that `caller` may read, best first; see `find_hits`."""
    return [to_passage(hit) for hit in find_hits(index, query, caller, k)]


def to_passage(hit: Hit) -> Passage:
    """Return a hit as plain data, without its permissions."""
    chunk = hit.chunk
    return Passage(
        ids=list(hit.ids),
        text=chunk.text,
        source=chunk.source,
        title=chunk.title,
        heading=list(chunk.heading),
        page=chunk.page,
        page_breaks=list(chunk.page_breaks),
        start=chunk.start,
        end=chunk.end,
        score=round(hit.score, 4),
        metadata=chunk.metadata,
    )


def hits_of(passages: list[Passage], index: Index, caller: Caller) -> list[Hit]:
    """Return a hit for each chunk of `passages` that is still there for `caller`, in their order."""
    scores = {id_: passage["score"] for passage in passages for id_ in passage["ids"]}
    return [Hit(chunk, scores[chunk.id]) for chunk in index.get(list(scores), caller)]
