"""Tells under which keys a passage can be cited, from its metadata and its headings."""

import json
import re
from dataclasses import dataclass

from markgraph.citations.acts import NUMBERED, act_key, celex_of
from markgraph.citations.labels import Label
from markgraph.citations.types import OWN, Reference
from markgraph.retrieval.types import Chunk

TERMS = "terms"
"""The place of an act's definitions."""
_CODE = "code"
"""The scope of sections that are numbered across a whole code, `§ 28-3905`, whatever names their act."""
_NUMBERED_IN_CODE = re.compile(r"sec \d+[A-Za-z]?[-:]")
_OTHER_CODE = re.compile(r"u\.?\s?s\.?\s?c|c\.?\s?f\.?\s?r")
_UNIT = re.compile(
    r"\s{0,4}(?:(?P<art>Art(?:icle|\.))\s(?P<article>\d{1,3}[a-z]{0,2})"
    r"|(?:§{1,2}|[Ss]ec(?:tion|\.)|[Cc]lause)\s{0,2}(?P<section>\d[\w:.-]*\w|\d)"
    r"|(?P<bare>\d{1,3}(?:\.\d{1,3})*)[.)]?\s{1,4}(?=\S)|(?P<coded>\d{1,3}[A-Z]?[-:]\d[\w:.-]*)[.)]?(?:\s|\Z))"
)
_PART = re.compile(
    r"\b(Annex|Chapter|Subchapter|Title|Part|Schedule|Appendix|Exhibit)\s([IVXLC]+|\d{1,3}[A-Z]?|[A-Z])\b",
    re.IGNORECASE,
)
_ARTICLE_IN_TITLE = re.compile(r"\bArticle\s(\d{1,3}[a-z]{0,2})\b")


@dataclass(frozen=True)
class Context:
    """Where a passage stands, as far as it can be cited by that."""

    tenant: str
    home: str
    """The scope that its own places count from, and in which its terms are used: an act, or the document."""
    names: tuple[str, ...]
    """Further scopes under which others cite it: the names of the act."""
    units: tuple[str, ...]
    """Articles and sections around it, innermost first: `art 33`, `sec 4.2`, `sec 4`."""
    parts: tuple[str, ...]
    """Annexes, chapters and the like around it, innermost first."""

    def key(self, scope: str, *place: str) -> str:
        """Return the key of a place; no other tenant has it."""
        return json.dumps([self.tenant, scope, *place], ensure_ascii=False)

    def keys(self, place: tuple[str, ...]) -> list[str]:
        """Return every key under which one of its own places is cited."""
        return [self.key(scope, *place) for scope in (self.home, *self.names, *_code(place))]

    def meanings(self, reference: Reference, label: Label) -> list[str]:
        """Return the keys that a reference in the paragraph with `label` may mean, the likeliest first.

        An article of which no paragraph `(1)` is known is looked for as a whole. An act isn't, and neither
        is the article that the reference stands in: nothing would say which of the passages is meant.
        """
        place = self._absolute(reference.place, label)
        if reference.place and not place:
            return []
        shortest = 2 if reference.act == OWN and place[:1] == self.units[:1] else 1
        narrowing = [place[:n] for n in range(len(place), min(shortest, len(place)) - 1, -1)]
        if reference.kind == "part" or not place:
            narrowing = [place]
        scopes = [self.home if reference.act == OWN else f"act:{reference.act}"]
        if not _OTHER_CODE.search(reference.act):
            scopes += _code(place)
        return [self.key(scope, *each) for scope in scopes for each in narrowing]

    def _absolute(self, place: tuple[str, ...], label: Label) -> tuple[str, ...]:
        """Return a relative place in full; empty where the passage is in no article or section."""
        if place[:1] == (OWN,):
            if not self.units:
                return ()
            rest = place[1:]
            if rest and rest[0].startswith("^"):
                rest = (*label[: int(rest[0][1:])], *rest[1:])
            return (self.units[0], *rest)
        if len(place) == 1 and " " not in place[0]:  # this chapter
            return next(((part,) for part in self.parts if part.startswith(f"{place[0]} ")), ())
        return place


def context_of(chunk: Chunk) -> Context:
    """Return where a chunk stands, by its headings and its metadata.

    That is `article`, `section`, `celex`, `regulation`, and `citation`.
    """
    data = chunk.metadata
    units = [_unit_in(title) for title in reversed(chunk.heading)]
    if "section" in data:
        units.insert(0, f"sec {data['section']}")
    if "article" in data:
        units.insert(0, f"art {data['article']}")
    elif not any(units) and (named := _ARTICLE_IN_TITLE.search(chunk.title)):
        units.append(f"art {named[1]}")
    parts = [
        f"{kind.lower()} {number.lower()}"
        for title in reversed(chunk.heading)
        for kind, number in _PART.findall(title)[:1]
    ]
    own = f"source:{chunk.source}"
    acts = [f"act:{act}" for act in _acts_of(chunk)]
    home, *names = acts if {"celex", "regulation"} & data.keys() else [own, *acts]
    return Context(
        chunk.tenant,
        home,
        tuple(names),
        tuple(unit for unit in dict.fromkeys(units) if unit),
        tuple(dict.fromkeys(parts)),
    )


def _code(place: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scope of a whole code, for a place that is numbered so."""
    return (_CODE,) if place and _NUMBERED_IN_CODE.match(place[0]) else ()


def _acts_of(chunk: Chunk) -> list[str]:
    """Return the keys of the acts that a document is, or is a part of."""
    data = chunk.metadata
    names = [data[name] for name in ("celex", "citation") if name in data]
    names += [act_key(data["regulation"])] if "regulation" in data else []
    if "article" not in data and "section" not in data:
        numbered = re.search(NUMBERED, chunk.title)
        names += [celex_of(numbered[0])] if numbered else []
        names.append(act_key(chunk.title))
    return list(dict.fromkeys(name.lower() for name in names if name))


def _unit_in(title: str) -> str:
    """Return the article or section that a heading names; empty if it names none."""
    match = _UNIT.match(title)
    if not match:
        named = _ARTICLE_IN_TITLE.search(title)  # GDPR Article 33 — Notification of ...
        return f"art {named[1]}" if named else ""
    if match["art"]:
        return f"art {match['article']}"
    return f"sec {(match['section'] or match['bare'] or match['coded']).rstrip('.')}"
