"""Fits history and passages into the model's budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel

from markgraph.compression.excerpts import excerpt
from markgraph.compression.history import length, remember
from markgraph.compression.tokens import counter_of
from markgraph.errors import ConfigError
from markgraph.nodes.refuse import REFUSAL
from markgraph.state import QAState, Turn
from markgraph.nodes.respond import place_of
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of


@dataclass(frozen=True)
class Compress:
    """Keeps the sentences of the passages that are worth most to the question, and what fits of the thread.

    The passages and the history themselves stay in the state: validation and citations still see all of
    the one, and later turns all of the other.
    """

    model: BaseChatModel
    """Counts tokens, where it can; otherwise they are estimated."""
    embedder: Embeddings
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

    def __call__(self, state: QAState) -> dict[str, Any]:
        """Return an excerpt for each passage, maybe empty; the newest turns; and a summary of the others.

        A turn that rested on permissions which the caller no longer has is in neither.
        """
        count = counter_of(self.model)
        history = remember(allowed_turns(state), REFUSAL, int(self.max_tokens * self.history_share), count)
        spent = sum(length(turn, count) for turn in history.recent) + count(history.summary)
        excerpts = excerpt(
            state["standalone"],
            [passage["text"] for passage in state["passages"]],
            self.max_tokens - spent,
            count=count,
            embed=self.embedder.embed_documents,
            titles=[place_of(passage) for passage in state["passages"]],
        )
        return {"recent": history.recent, "summary": history.summary, "excerpts": excerpts}


def allowed_turns(state: QAState) -> Sequence[Turn]:
    """Return the turns of the thread that the caller may still be shown, oldest first."""
    held = set(state["grants"])
    return [turn for turn in state.get("history") or [] if set(turn["grants"]) <= held]
