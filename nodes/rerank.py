"""Orders the retrieved passages anew, spreads them, and widens them."""

from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from markgraph.nodes.retrieve import to_passage
from markgraph.retrieval.search import Refine
from markgraph.retrieval.types import Chunk, Hit, Index
from markgraph.security.caller import Caller, caller_of
from markgraph.state import Passage, QAState


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


def hits_of(passages: list[Passage], index: Index, caller: Caller) -> list[Hit]:
    """Return the hits that `passages` were made from, in their order."""
    ids = [id_of(passage, caller.tenant) for passage in passages]
    chunks = {chunk.id: chunk for chunk in index.get(ids, caller)}
    scored = zip(ids, passages, strict=True)
    return [Hit(chunks[id_], passage["score"]) for id_, passage in scored if id_ in chunks]


def id_of(passage: Passage, tenant: str) -> str:
    """Return the id of the chunk that holds a passage."""
    text, source, title = passage["text"], passage["source"], passage["title"]
    return Chunk(text, source, title, passage["start"], passage["end"], tenant=tenant).id
