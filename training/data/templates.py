"""Asks for what a sentence says, by the way in which it says it; English only.

Does NOT include: questions that need more than one sentence, and anything that is not said in so many words.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from markgraph.retrieval.types import Chunk
from markgraph.text import sentences

SHORTEST, LONGEST = 25, 350
"""Characters of a sentence that is asked for."""
_NOUNS = r"(?P<who>(?:(?:The|A|An|Each|Every|Any|No|All)\s)?[\w’'-]+(?:\s[\w’'-]+){0,5}?)"
_PATTERNS = (
    (
        r"^[‘'\"“]?(?:The term )?[‘'\"“]?(?P<term>[\w’' -]{3,60}?)[’'\"”]?\s(?:means|shall mean|refers to)\s",
        "What does “{term}” mean?",
    ),
    (
        rf"^{_NOUNS}\s(?P<is>is|are)\s(?P<done>due|payable|required|\w+ed)\b[^.]*?"
        r"\b(?:within|no later than|not later than|by the|before|until)\s",
        "When {is} {who} {done}?",
    ),
    (
        rf"^{_NOUNS}\s(?P<must>shall|must|may)\sbe\s(?P<done>\w+ed|made|given|kept|paid|sent)\b[^.]*?"
        r"\b(?:within|no later than|not later than|by the|before|until)\s",
        "When {must} {who} be {done}?",
    ),
    (rf"^{_NOUNS}\s(?P<must>shall|must|may|can)\snot\s\w+", "What {must} {who} not do?"),
    (rf"^{_NOUNS}\s(?P<must>shall|must|may|can)\s(?!be\b|not\b|have\b)\w+", "What {must} {who} do?"),
    (rf"^{_NOUNS}\s(?P<is>is|are)\s(?:an?|the)\s", "What {is} {who}?"),
)
_COMPILED = tuple((re.compile(pattern), question) for pattern, question in _PATTERNS)
_WHOLE = re.compile(r"^[A-Z‘'\"“].*(?<!\s\d)[.!]$", re.DOTALL)  # "...; 4." goes on
_VAGUE = re.compile(
    r"^(?:it|this|that|these|those|they|there|he|she|we|you|such|where|if|when|in|for)\b", re.IGNORECASE
)
_DETERMINER = re.compile(r"^(?:The|A|An|Each|Every|Any|No|All)\b")


class Draft(NamedTuple):
    """A question, and what a passage says to it."""

    question: str
    forms: tuple[str, ...]
    """Answers, the shortest first."""
    chunk: Chunk


def drafts(chunk: Chunk) -> Iterator[Draft]:
    """Yield a question for each sentence of `chunk` that has one of the forms known here."""
    for sentence in whole_sentences(chunk.text):
        for pattern, question in _COMPILED:
            if match := pattern.match(sentence):
                parts = {name: _inner(said, chunk.text) for name, said in match.groupdict().items()}
                yield Draft(question.format(**parts), (sentence,), chunk)
                break


def whole_sentences(text: str) -> list[str]:
    """Return the sentences that can be understood by themselves: none of a list, none that leans on "it"."""
    spans = (" ".join(text[start:end].split()) for start, end in sentences(text))
    return [
        each
        for each in spans
        if SHORTEST <= len(each) <= LONGEST and _WHOLE.match(each) and not _VAGUE.match(each)
    ]


def _inner(said: str, text: str) -> str:
    """Return what opened a sentence of `text` as it is written within one: names keep their capital."""
    first, rest = said[0].lower() + said.split()[0][1:], said[1:]
    is_word = _DETERMINER.match(said) or re.search(rf"\b{re.escape(first)}\b", text)
    return said[0].lower() + rest if is_word else said
