"""Keeps the newest turns of a thread, and a summary of the older ones that says nothing new.

Does NOT ask a model: a small one invents. Every sentence of a summary was said in the thread.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markgraph.compression.tokens import Count
from markgraph.state import Turn
from markgraph.text import numbers, sentences, words

RECENT_SHARE = 0.6
"""The part of the room that whole turns may take when not all of them fit."""
OPEN = "Without an answer so far:"
_MARK = re.compile(r"\s*\[\d+\]")
_NAME = re.compile(r"(?<=\w)[^.!?\w]+([A-Z][\w\u2019'-]*)|\b([A-Z]{2,}\w*)\b")


@dataclass(frozen=True)
class Remembered:
    """What of a thread fits."""

    recent: list[Turn]
    """The newest turns, whole, oldest first."""
    summary: str
    """What is left of the turns before them, oldest first; empty where there are none."""


def remember(history: Sequence[Turn], refusal: str, room: int, count: Count) -> Remembered:
    """Return what of `history` fits in `room` tokens: all of it, or the newest turns and a summary.

    Args:
        history: the turns that the caller may be shown, oldest first.
        refusal: how an answer begins that is none; its question is still open.
        room: tokens for both together.
        count: what counts them.
    """
    recent = last_turns(history, room, count)
    if len(recent) == len(history):
        return Remembered(recent, "")
    recent = last_turns(history, int(room * RECENT_SHARE), count)
    left = room - sum(length(turn, count) for turn in recent)
    return Remembered(recent, summarize(history[: len(history) - len(recent)], refusal, left, count))


def last_turns(history: Sequence[Turn], room: int, count: Count) -> list[Turn]:
    """Return the newest turns that fit in `room` tokens, oldest first."""
    kept: list[Turn] = []
    for turn in reversed(history):
        room -= length(turn, count)
        if room < 0:
            break
        kept.insert(0, turn)
    return kept


def length(turn: Turn, count: Count) -> int:
    """Return how many tokens a turn takes."""
    return count(turn["question"]) + count(turn["answer"])


def summarize(turns: Sequence[Turn], refusal: str, room: int, count: Count) -> str:
    """Return at most `room` tokens: a line for each turn of which something is kept, oldest first.

    Open questions go first, then the sentences that add most facts per token, the newest among equals.
    Facts are names, numbers and dates. Citation marks are left out: they point to another turn's passages.
    """
    lines = [line for at, turn in enumerate(turns) for line in _lines(at, turn, refusal, count)]
    told: set[str] = set()
    kept: list[_Line] = []
    opened: set[int] = set()
    while lines := [line for line in lines if line not in kept and line.cost(opened) <= room]:
        best = max(lines, key=lambda line: (line.is_open, line.worth(told, opened), line.turn, -line.nth))
        room -= best.cost(opened)
        kept.append(best)
        opened.add(best.turn)
        told |= best.facts
    said = {
        at: [line.text for line in sorted(kept, key=lambda line: line.nth) if line.turn == at]
        for at in opened
    }
    return "\n".join(" ".join((_topic(turns[at], refusal), *said[at])).rstrip() for at in sorted(said))


@dataclass(frozen=True)
class _Line:
    """A sentence of an answer, or the open question itself, as an empty sentence."""

    turn: int
    nth: int
    text: str
    facts: frozenset[str]
    tokens: int
    topic_tokens: int
    is_open: bool

    def cost(self, opened: set[int]) -> int:
        """Return the tokens that it would add: its question's too, unless that is there already."""
        return self.tokens + (0 if self.turn in opened else self.topic_tokens)

    def worth(self, told: set[str], opened: set[int]) -> float:
        """Return how many facts it would add per token."""
        return len(self.facts - told) / self.cost(opened)


def _lines(at: int, turn: Turn, refusal: str, count: Count) -> list[_Line]:
    """Return what a summary may keep of a turn."""
    is_open = turn["answer"].startswith(refusal)
    answer = "" if is_open else _MARK.sub("", turn["answer"])
    said = [answer[start:end] for start, end in sentences(answer)] or [""]
    topic = _topic(turn, refusal)
    topic_tokens, asked = count(topic) + 1, _facts(turn["standalone"])
    return [
        _Line(at, nth, text, _facts(text) | asked, count(text) + 1, topic_tokens, is_open)
        for nth, text in enumerate(said)
    ]


def _topic(turn: Turn, refusal: str) -> str:
    question = turn["standalone"]
    return f"- {OPEN} {question}" if turn["answer"].startswith(refusal) else f"- {question}"


def _facts(text: str) -> frozenset[str]:
    """Return the names and numbers in `text`."""
    names = (first or second for first, second in _NAME.findall(text))
    return frozenset(numbers(text)) | frozenset(words(" ".join(names)))
