"""Splits the draft of an answer into claims with the marks that cite passages."""

import re
from typing import NamedTuple

from markgraph.text import sentences, words

_MARK = r"\[\d{1,3}(?:\s*[,;]\s*\d{1,3})*\]"
_MARKS = re.compile(rf"\s*{_MARK}")
# "It is so.[1]" and "It is so. [1]" cite for the sentence before.
_LATE_MARKS = re.compile(rf"([.!?])((?:\s*{_MARK})+)")
_PLEASANTRIES = frozenset(
    words(
        """sure certainly course okay yes hello hi thanks thank please welcome glad happy sorry great good
        question answer hope help helpful let know feel free ask further questions information based provided
        given passage passages context document documents text following according summary conclusion assist
        anything else"""
    )
)
_OPENING = re.compile(r"([^.:;]{2,80}):\s+")  # "Sure, here is the answer: ..."
_BULLET = re.compile(r"(?:[-*•–]|\(?(?:\d{1,2}|[a-z])[.)])\s+")  # a number here counts nothing
_LETTER = re.compile(r"\w")
_NO = re.compile(r"\b(?:no|not|never)\b", re.IGNORECASE)  # "No." states something
_BOLD = re.compile(r"\*\*[^*]+\*\*:?")


class Statement(NamedTuple):
    """A sentence that states something, without marks, and the passages it cites, from 1."""

    text: str
    marks: tuple[int, ...]


def statements(draft: str) -> list[Statement]:
    """Return the sentences of `draft` that state something: no questions, headings or pleasantries."""
    moved = _LATE_MARKS.sub(r"\2\1", draft)
    found = []
    for start, end in sentences(moved):
        sentence = moved[start:end]
        text = _bare(without_marks(sentence).strip())
        if _states(text):
            found.append(Statement(text, marks_of(sentence)))
    return found


def marks_of(text: str) -> tuple[int, ...]:
    """Return the passages that `text` cites, each once, from 1: those of [1] and [2, 3]."""
    marks = [int(n) for group in _MARKS.findall(text) for n in re.findall(r"\d+", group)]
    return tuple(dict.fromkeys(marks))


def without_marks(text: str) -> str:
    """Return `text` without what cites passages."""
    return _MARKS.sub("", text)


def without_bullet(text: str) -> str:
    """Return `text` without a bullet, or the number of a point, at its start."""
    bullet = _BULLET.match(text)
    return text[bullet.end() :] if bullet else text


def _bare(text: str) -> str:
    text = without_bullet(text)
    opening = _OPENING.match(text)
    return text[opening.end() :] if opening and _is_pleasant(opening[1]) else text


def _is_pleasant(text: str) -> bool:
    said = set(words(text))
    return bool(said) and said <= _PLEASANTRIES and not _NO.search(text)


def _states(text: str) -> bool:
    heading = text.startswith("#") or _BOLD.fullmatch(text)
    lead_in = text.endswith(":") and not any(character.isdigit() for character in text)
    return bool(_LETTER.search(text)) and not (heading or lead_in or text.endswith("?") or _is_pleasant(text))
