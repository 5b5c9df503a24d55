"""Fits history and passages into the model's budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langgraph.runtime import Runtime

from markgraph.compression.excerpts import excerpt
from markgraph.compression.history import length, remember
from markgraph.compression.tokens import counter_of
from markgraph.errors import ConfigError
from markgraph.nodes.refuse import REFUSAL
from markgraph.nodes.respond import place_of
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.state import QAState, Turn


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED)
@dataclass(frozen=True)
class Compress:
    """Keeps the sentences of the passages that are worth most to the question, and what fits of the thread.

    The passages and the history themselves stay in the state: validation and citations still see all of
    the one, and later turns all of the other.
    """

    model: BaseChatModel
    """Counts tokens, where it can; otherwise they are estimated."""
    embedder: Embeddings
    index: Index
    """Tells whether the caller may still read what earlier answers cite."""
    max_tokens: int = 600
    """Budget for passages and history together: about a quarter of twelve chunks."""
    history_share: float = 0.25
    """The part of the budget that earlier turns may take."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or not 0 <= self.history_share < 1:
            raise ConfigError(
                f"Compress has max_tokens {self.max_tokens} and history_share {self.history_share}. "
                "Allowed: 1 or more, and 0 up to, but not including, 1."
            )

    def __call__(self, state: QAState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return an excerpt for each passage, maybe empty; the newest turns; and a summary of the others.

        A turn that rested on permissions which the caller no longer has, or on passages that they can't
        read any more, is in neither.
        """
        return self.fit(state, allowed_turns(state, self.index, caller_of(runtime)))

    def fit(self, state: QAState, turns: Sequence[Turn]) -> dict[str, Any]:
        """Return the same, `turns` being the turns that the caller may be shown."""
        count = counter_of(self.model)
        history = remember(turns, REFUSAL, int(self.max_tokens * self.history_share), count)
        spent = sum(length(turn, count) for turn in history.recent) + count(history.summary)
        excerpts = excerpt(
            state["standalone"],
            [passage["text"] for passage in state["passages"]],
            self.max_tokens - spent,
            count=count,
            embed=self.embedder.embed_documents,
            titles=[place_of(passage) for passage in state["passages"]],
        )
        recalled = turns if history.summary else history.recent
        return {
            "recent": history.recent,
            "summary": history.summary,
            "recalled": sorted({id_ for turn in recalled for id_ in turn["sources"]}),
            "excerpts": excerpts,
        }


def allowed_turns(state: QAState, index: Index, caller: Caller) -> list[Turn]:
    """Return the turns of the thread that the caller may still be shown, oldest first."""
    held = set(state["grants"])
    turns = [turn for turn in state.get("history") or [] if set(turn["grants"]) <= held]
    turns = [turn for turn in turns if "sources" in turn]  # older versions did not keep them
    cited = sorted({id_ for turn in turns for id_ in turn["sources"]})
    readable = {chunk.id for chunk in (index.get(cited, caller) if cited else [])}
    return [turn for turn in turns if readable.issuperset(turn["sources"])]
