"""Orders the retrieved passages anew, spreads them, and widens them."""

from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from markgraph.nodes.retrieve import hits_of, to_passage
from markgraph.retrieval.search import Refine
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.state import QAState


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED)
@dataclass(frozen=True)
class Rerank:
    """Refines passages over the chunks that the caller may read now; one that has gone is left out."""

    index: Index
    refine: Refine
    k: int
    """How many passages are kept."""

    def __call__(self, state: QAState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the passages, best first."""
        caller = caller_of(runtime)
        hits = hits_of(state["passages"], self.index, caller)
        refined = self.refine(hits, state["standalone"], self.index, caller, self.k)
        return {"passages": [to_passage(hit) for hit in refined]}
