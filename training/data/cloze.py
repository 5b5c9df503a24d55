"""Makes questions from sentences by template: a span is taken out, and asked for.

After "Unsupervised Question Answering by Cloze Translation" (Lewis et al. 2019), by rules only. The questions
are clumsy on purpose: a model learns from them where a sentence's answer stands, not how people ask.

Does NOT include: languages other than English.
"""

import random
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from markgraph.retrieval.types import Chunk
from markgraph.text import sentences
from markgraph.training.data.exercises import Exercise, Shown

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_UNIT = (
    "(?:hours|days|weeks|months|years|people|members|euros|EUR|miles|kilometers|km|meters|metres|feet|acres)"
)
_COUNTED = "(?:two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|thirty) [a-z]+s"
_AFTER = "(?= (?:of|in|and|to|for|which|that|is|are|was|were|by|on|with|from|as|at)\\b|[,.;])"
_NOUNS = "(?!(?:the|an?) )[a-z][a-z-]+(?: [a-z][a-z-]+){0,2}"
_SPANS = (
    ("when", re.compile(rf"\b(?:\d{{1,2}} )?{_MONTH}(?: \d{{1,2}})?,? \d{{4}}\b|\b(?:1\d|20)\d\d\b")),
    (
        "how many",
        re.compile(
            rf"(?<![\w.])(?:[€$£]\s?)?\d(?:[\d,.]*\d)?(?:\s?%| percent| million| billion)?(?: {_UNIT})?\b"
            rf"|\b{_COUNTED}\b"
        ),
    ),
    (
        "who",
        re.compile(
            r"\b[A-Z][\w'’-]+(?: (?:of|the|de|von|van) (?=[A-Z])| (?=[A-Z]))?(?:[A-Z][\w'’-]+ ?){0,3}"
        ),
    ),
    (
        "what",
        re.compile(
            rf"(?<=\bthe ){_NOUNS}{_AFTER}|(?<=\b(?:an|of) ){_NOUNS}(?=[,.;])|(?<=\ba ){_NOUNS}(?=[,.;])"
        ),
    ),
)
"""What a question may ask for, and the spans that answer it."""
_COMMON = frozenset(
    """the a an this that these those it he she they we i in on at of for and or but as by to from with
    however although while when after before if such where since because there other more most
    same first""".split()
)
_OPENING = re.compile(
    r"^(?:However|Moreover|Furthermore|In addition|Therefore|Thus|For example|Also|Finally|Instead),? "
)
_PREPOSITION = re.compile(r"\b(?:in|on|at|from|to|by|of|for|with|since|until|during|within|between|about)$")
_PLACES = ("in", "at", "from", "to")
_ARTICLE = re.compile(r"\b(?:the|an?|its|his|her|their|our)$")
_CLAUSE = re.compile(r"(?<=[,;:]) ")
_EDGES = " ,;:.()\"'“”"
_LENGTHS, _ANSWER, _OFTEN = range(4, 27), 60, 3
"""Words of a question; characters of an answer; how often it may stand in its text."""


class Cloze(NamedTuple):
    """A question to a text."""

    question: str
    answer: str
    """A span of the text."""
    sentence: str
    """The sentence that it was taken from."""


def exercises(chunks: Iterable[Chunk], most: int, shown: Shown) -> Iterator[Exercise]:
    """Yield at most `most` questions to each passage; a short answer is learned from each."""
    for chunk in chunks:
        for question, answer, _ in clozes(chunk.text, most, shown.draw("cloze", chunk.id)):
            yield Exercise(f"{chunk.id} {question}", question, (answer,), (answer,), chunk, certain=True)


def clozes(text: str, most: int, draw: random.Random) -> Iterator[Cloze]:
    """Yield at most `most` questions to `text`, each from a sentence of its own, as chance has it."""
    found = [text[start:end] for start, end in sentences(text)]
    draw.shuffle(found)
    for sentence in found:
        if most and (cloze := _cloze(sentence, text, draw)):
            yield cloze
            most -= 1


def _cloze(sentence: str, text: str, draw: random.Random) -> Cloze | None:
    if not 6 <= len(sentence.split()) <= 60:
        return None
    spans = [(kind, match) for kind, pattern in _SPANS for match in pattern.finditer(sentence)]
    draw.shuffle(spans)
    for kind, match in spans:
        answer = match[0].strip(_EDGES)
        if _says_something(answer) and text.count(answer) <= _OFTEN:
            before, after = sentence[: match.start()], sentence[match.end() :]
            question = _asked(
                kind, answer, _near(before, draw, last=True), _near(after, draw, last=False), draw
            )
            if len(question.split()) in _LENGTHS and answer.lower() not in question.lower():
                return Cloze(question, answer, sentence)
    return None


def _says_something(answer: str) -> bool:
    words = answer.lower().split()
    return (
        bool(words)
        and len(answer) <= _ANSWER
        and not _COMMON.issuperset(words)
        and (len(answer) > 1 or answer.isdigit())
    )


def _near(text: str, draw: random.Random, *, last: bool) -> str:
    """Return some words of `text` next to the span, of its clause if that has enough."""
    clauses = _CLAUSE.split(_OPENING.sub("", text))
    nearest = clauses[-1 if last else 0]
    words = (nearest if len(nearest.split()) >= 3 else text).split()
    near = words[-draw.randint(6, 12) :] if last else words[: draw.randint(5, 12)]
    if near and near[0].lower() in _COMMON:
        near[0] = near[0].lower()
    return " ".join(near).strip(_EDGES)


def _asked(kind: str, answer: str, before: str, after: str, draw: random.Random) -> str:
    """Return the question, now and then without a word, so that it is not the sentence itself."""
    match kind:
        case "when":
            words = f"{draw.choice(['when', 'what year'])} {_PREPOSITION.sub('', before)} {after}"
        case "how many":
            words = _how_many(answer, before, after, draw)
        case _:
            words = _who_or_what(kind, before, after, draw)
    kept = " ".join(word for word in words.split() if draw.random() > 0.06).strip(_EDGES)
    return f"{kept[:1].upper()}{kept[1:]}?"


def _how_many(answer: str, before: str, after: str, draw: random.Random) -> str:
    *number, unit = answer.split()
    unit = unit if number and unit.isalpha() else ""
    if draw.random() < 0.4:
        return f"{before} how many {unit} {after}"
    asked = (
        "what percentage" if "%" in answer or "percent" in answer else draw.choice(["how many", "how much"])
    )
    return f"{asked} {unit} {after} {before}"


def _who_or_what(kind: str, before: str, after: str, draw: random.Random) -> str:
    if kind == "what":
        before = _ARTICLE.sub("", before).strip()
    if not before:
        return f"{draw.choice([kind, 'what'])} {after}"
    asked = draw.choice(["who", "what", "which"]) if kind == "who" else "what"
    preposition = _PREPOSITION.search(before)
    rest = _PREPOSITION.sub("", before).strip()
    if preposition and kind == "who" and preposition[0] in _PLACES and draw.random() < 0.6:
        return f"where {rest} {after}"
    form = draw.random()
    if preposition and form < 0.4:
        return f"{preposition[0]} {asked} {rest} {after}"
    return f"{before} {asked} {after}" if form < 0.7 else f"{asked} {after} {before}"
