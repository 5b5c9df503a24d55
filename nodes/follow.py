"""Follows the citations of the passages that were found."""

from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from markgraph.citations.follow import follow
from markgraph.citations.types import CitationGraph
from markgraph.errors import ConfigError
from markgraph.nodes.retrieve import hits_of, to_passage
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.state import QAState


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED)
@dataclass(frozen=True)
class Follow:
    """Appends passages that the best ones cite, and that the caller may read."""

    citations: CitationGraph
    index: Index
    hops: int = 1
    """Over how many citations."""
    most: int = 4
    """How many passages are appended at most."""

    def __post_init__(self) -> None:
        if self.hops not in (1, 2) or self.most < 1:
            raise ConfigError(
                f"Follow has hops {self.hops} and most {self.most}. Allowed: hops 1 or 2, and most 1 or "
                "more; graph.follow=null follows nothing."
            )

    def __call__(self, state: QAState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the passages, those that were reached behind those that were found."""
        caller = caller_of(runtime)
        hits = hits_of(state["passages"], self.index, caller)
        reached = follow(
            self.citations, self.index, hits, caller, state["standalone"], hops=self.hops, most=self.most
        )
        return {"passages": [*state["passages"], *map(to_passage, reached)]}
