"""Turns a follow-up into a question that stands alone."""

import re
from typing import Any

from markgraph.security.effects import Effect, does
from markgraph.state import QAState
from markgraph.text import words

_OPENERS = re.compile(r"^\W*(and|or|but|also|then|so|what about|how about|why)\b", re.IGNORECASE)
_REFERENCES = re.compile(
    r"\b(it|its|they|them|their|this|that|those|these|he|him|his|she|her|the same|the (?:former|latter))\b",
    re.IGNORECASE,
)
_MEASURES = frozenset(words("long high many much often old far soon late early large big"))
"""Words that ask for a measure, but don't say of what."""


@does(Effect.READS_PRIVATE)
def rewrite(state: QAState) -> dict[str, Any]:
    """Put the thread's last independent question in front of one that leans on it.

    Nothing is guessed: both questions stay in the caller's own words.
    """
    question, history = state["question"].strip(), state.get("history") or []
    if history and leans_on_context(question):
        topic = history[-1]["topic"]
        return {"standalone": f"{topic} {question}", "topic": topic}
    return {"standalone": question, "topic": question}


def leans_on_context(question: str) -> bool:
    """Tell whether a question can only be understood with the turns before it."""
    says_nothing = not set(words(question)) - _MEASURES
    return bool(says_nothing or _OPENERS.search(question) or _REFERENCES.search(question))
