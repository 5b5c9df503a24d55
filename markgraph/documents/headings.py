"""Finds headings in text: the `#` lines of Markdown, and lines that number a part of a law or contract.

Does NOT know Setext headings (a line underlined with `===`).
"""

import re

from markgraph.documents.types import Heading

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*")
_LONGEST_ATX = 300
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")

_LONGEST = 100
_ROMAN = r"[IVXLC]+"
_NUMBER = rf"(?:{_ROMAN}|\d+)\b"
_DASH = "\u2013\u2014"
_WORDS = rf"(?P<stop>\.)?(?:[ \t]*[{_DASH}:-][ \t]*(?P<title>\S.*)|[ \t]+(?P<words>[^\W\d_a-z].*))?"
# Outermost first. An article with a Roman number holds sections, as in contracts and bylaws; one with an
# Arabic number is held by them, as in European law.
_NAMED = tuple(
    re.compile(f"(?:{kind}){_WORDS}")
    for kind in (
        rf"(?:PART|TITLE|ANNEX|SCHEDULE|Part|Title|Annex|Schedule)[ \t]+(?:{_NUMBER}|[A-Z]\b)",
        rf"(?:CHAPTER|Chapter)[ \t]+{_NUMBER}|(?:ARTICLE|Article)[ \t]+{_ROMAN}\b",
        rf"(?:SECTION|Section)[ \t]+{_NUMBER}(?!\.\d)",
        r"(?:ARTICLE|Article)[ \t]+\d+[a-z]?\b",
        rf"(?:SECTION|Section|Sec\.)[ \t]+\d+(?:\.\d+)+|§[ \t]*\d(?:[\w.{_DASH}-]*\w)?",
    )
)
_DEWEY = re.compile(r"(\d{1,2}(?:\.\d{1,2})+)\.?[ \t]+([^\W\d_a-z].*)")
_CAPITALS = re.compile(r"\d{1,2}\.[ \t]+([^\W\d_a-z][^a-z]*[^\W\d_a-z][^a-z]*)")
_CONTENTS_OR_ROW = re.compile(r"\.{3,}|[ \t]\d+$|\|")
_CLOSED = frozenset('.;:!?)"\u201d\u2019')


def first_title(headings: tuple[Heading, ...]) -> str:
    """Return the title of the first heading of the outermost level; empty where there is none."""
    return min(headings, key=lambda heading: heading.level).title if headings else ""


def markdown_headings(text: str) -> tuple[Heading, ...]:
    """Return the `#` headings of Markdown `text`, those in fenced code left out."""
    headings, offset, fence = [], 0, ""
    for line in text.split("\n"):
        if marker := _FENCE.match(line):
            if not fence:
                fence = marker[1]
            elif marker[1].startswith(fence) and not line[marker.end() :].strip():
                fence = ""
        elif not fence and len(line) <= _LONGEST_ATX and (found := _ATX.fullmatch(line)) and found[2]:
            title = _LINK.sub(r"\1", found[2]).replace("*", "").replace("`", "").strip()
            headings.append(Heading(offset + found.start(1), len(found[1]), title))
        offset += len(line) + 1
    return tuple(headings)


def line_headings(text: str) -> tuple[Heading, ...]:
    """Return the lines that number a part of a law or contract: `CHAPTER IV`, `§ 28-3904`, `4.2 Term`.

    A bare number stands anywhere. One with words behind it must be short, have no full stop at its end
    (unless the number has one too: `§ 3. Term.`), and neither go on in the next line nor go on from the line
    before. Levels count from 1 without gaps.
    """
    lines = [line.strip() for line in text.split("\n")]
    found: list[Heading] = []
    offset, before = 0, ""
    for line, raw, following in zip(lines, text.split("\n"), [*lines[1:], ""], strict=True):
        level = _level(line, before, following)
        if level:
            found.append(Heading(offset + raw.index(line), level, line.rstrip(".")))
        before = "" if level else line
        offset += len(raw) + 1
    ranks = sorted({heading.level for heading in found})
    return tuple(Heading(each.offset, ranks.index(each.level) + 1, each.title) for each in found)


def _level(line: str, before: str, following: str) -> int:
    """Return the level of `line` as a heading between two others, 0 where it is none."""
    level, words = _kind(line) if line and len(line) <= _LONGEST else (0, "")
    if not words:
        return level
    goes_on = following[:1].islower() or (before and before[-1] not in _CLOSED)
    return 0 if goes_on or words.endswith((".", ";", ",", ":")) or _CONTENTS_OR_ROW.search(words) else level


def _kind(line: str) -> tuple[int, str]:
    """Return the level that the beginning of `line` names, 0 for none, and the words behind the number."""
    for level, pattern in enumerate(_NAMED, start=1):
        if match := pattern.fullmatch(line):
            words = match["title"] or match["words"] or ""
            return level, words.rstrip(".") if match["stop"] and words.count(".") == 1 else words
    if match := _CAPITALS.fullmatch(line):
        return len(_NAMED) + 1, match[1]
    if match := _DEWEY.fullmatch(line):
        return len(_NAMED) + 1 + match[1].count("."), match[2]
    return 0, ""
