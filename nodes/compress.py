"""Fits history and passages into the model's budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markgraph.state import QAState, Turn
from markgraph.text import sentences, words

CHARACTERS_PER_TOKEN = 4
"""English prose in the vocabularies of small models; an estimate that needs no tokenizer."""


@dataclass(frozen=True)
class Compress:
    """Keeps whole sentences of the passages, those nearest to the question first, in their own order.

    The passages themselves stay in the state: validation and citations still see all of them.
    """

    max_tokens: int = 900
    """Budget for passages and history together."""
    history_share: float = 0.25
    """The part of the budget that earlier turns may take."""

    def __call__(self, state: QAState) -> dict[str, Any]:
        """Return what fits: an excerpt for each passage, maybe empty, and the last turns still allowed."""
        budget = self.max_tokens * CHARACTERS_PER_TOKEN
        allowed = [turn for turn in state.get("history") or [] if set(turn["grants"]) <= set(state["grants"])]
        recent = last_turns(allowed, int(budget * self.history_share))
        room = budget - sum(map(_length, recent))
        texts = [passage["text"] for passage in state["passages"]]
        return {"recent": recent, "excerpts": excerpt(state["standalone"], texts, room)}


def last_turns(history: Sequence[Turn], characters: int) -> list[Turn]:
    """Return the newest turns that fit in `characters`, oldest first."""
    kept: list[Turn] = []
    for turn in reversed(history):
        characters -= _length(turn)
        if characters < 0:
            break
        kept.insert(0, turn)
    return kept


def excerpt(question: str, texts: Sequence[str], characters: int) -> list[str]:
    """Return of each text the sentences nearest to the question, `characters` in all."""
    if sum(map(len, texts)) <= characters:
        return list(texts)
    asked = set(words(question))
    spans = [(at, start, end) for at, text in enumerate(texts) for start, end in sentences(text)]

    def nearness(span: tuple[int, int, int]) -> tuple[int, int, int]:
        at, start, end = span
        return -len(asked.intersection(words(texts[at][start:end]))), at, start

    kept: list[tuple[int, int, int]] = []
    for span in sorted(spans, key=nearness):
        length = span[2] - span[1] + 1
        if length <= characters:
            kept.append(span)
            characters -= length
    return [
        " ".join(text[start:end] for which, start, end in sorted(kept) if which == at)
        for at, text in enumerate(texts)
    ]


def _length(turn: Turn) -> int:
    return len(turn["question"]) + len(turn["answer"])
