"""Finds where a text may be cut, the outer parts of its structure before the inner ones."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

from markgraph.documents.headings import line_headings
from markgraph.ingestion.tables import Table
from markgraph.text import sentences

DEPTHS = 4
"""Lists in lists are told apart to this depth."""

_NUMBERED_LINE = re.compile(r"\n([ \t]*)(?=(?:\d{1,3}\.)+(?:\d{1,3})?[ \t])")
_NUMBERED_INLINE = re.compile(r"(?<=[^\s\d])[ \t]+(?=(\d{1,3})\. \S)")
_ENDS = frozenset(".;:)'\"\u2019\u201d")
_LABEL = r"(?:\d{1,3}|[a-z]{1,2}|[A-Z]{1,2}|[ivxlc]{2,5}|[IVXLC]{2,5})"
_POINT = re.compile(
    rf"[;:.][\u2019\u201d'\"]?\s+(?:(?:and|or)\s+)?(?=(?P<inline>(?:\({_LABEL}\))+)\s)"
    rf"|(?:\n|\A)(?P<indent>[ \t]*)(?=(?P<line>(?:\(?{_LABEL}\))+|[-*\u2022\u2013]|(?:\d{{1,3}}\.)+)[ \t])"
)
_ROMAN = re.compile("[ivxlc]+|[IVXLC]+")
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
_WIDE_STOP = re.compile("[\u3002\uff01\uff1f]")
_LINE = re.compile(r"\n\s*")
_DEFINITION = re.compile(
    r"(?:\(\w{1,4}\)\s*|\d{1,3}\.\s+)*(?:[Tt]he\s+terms?\s+)?"
    r"(?:[\u2018\u201c\"'][^\u2018\u2019\u201c\u201d\"'\n]{1,100}[\u2019\u201d\"']|\*\*[^*\n]{1,100}\*\*)"
    r"[^.;:\n]{0,60}?\s(?:means?|shall mean|refers? to|ha(?:s|ve) the meaning)\b"
)
_DEFINITION_END = re.compile(r"\.[\u2019\u201d\"']?\s+(?=[^\Wa-z_]|[(\u2018\u201c\"'])|\n\s*\n")


def find_seams(
    text: str, start: int, end: int, *, tables: Sequence[Table], size: int
) -> list[tuple[int, ...]]:
    """Return the offsets at which `text[start:end]` may be cut, the best kind first, each kind in order.

    They are: parts of a law, numbered paragraphs, points of lists (the outer before the inner), tables and
    empty lines, sentences, lines. None is within a row of `tables` or a definition of at most `size`
    characters, and none but a line's is between a colon and what it leads to.
    """
    tables = [*tables[_place(tables, start) : _place(tables, end)]]
    blocks = {*_ends(_BLANK_LINE, text, start, end), *(edge for table in tables for edge in table.edges)}
    kinds: list[Iterable[int]] = [
        [start + heading.offset for heading in line_headings(text[start:end])],
        _numbered(text, start, end),
        *_points(text, start, end),
        sorted(place for place in blocks if start < place < end),
        _sentences(text, start, end),
    ]
    whole = [
        [row for table in tables for row in table.rows],
        list(_definitions(text, start, end, size)),
    ]
    led = [[place for place in places if not _follows_colon(text, place)] for places in kinds]
    lines = [*_ends(_LINE, text, start, end)]
    return [_outside(places, whole) for places in (*led, lines)]


def _place(tables: Sequence[Table], offset: int) -> int:
    return bisect_left(tables, offset, key=lambda table: table.start)


def _outside(places: Iterable[int], whole: Sequence[Sequence[tuple[int, int]]]) -> tuple[int, ...]:
    """Return the places that are within none of the spans; those of each sequence don't overlap."""
    for spans in whole:
        starts = [start for start, _ in spans]
        if spans:
            places = [place for place in places if not _is_within(place, spans, starts)]
    return tuple(places)


def _is_within(place: int, spans: Sequence[tuple[int, int]], starts: list[int]) -> bool:
    at = bisect_right(starts, place) - 1
    return at >= 0 and spans[at][0] < place < spans[at][1]


def _follows_colon(text: str, place: int) -> bool:
    while place and text[place - 1].isspace():
        place -= 1
    return place > 0 and text[place - 1] == ":"


def _ends(pattern: re.Pattern[str], text: str, start: int, end: int) -> Iterator[int]:
    return (match.end() for match in pattern.finditer(text, start, end))


def _numbered(text: str, start: int, end: int) -> list[int]:
    """Return where numbered paragraphs begin: on a line of their own, or counting up within one line.

    European law often comes without its line ends: `Subject-matter 1. This Regulation ... 2. This ...`.
    Lines that are indented further than others number the points of a list.
    """
    lines = [(len(match[1]) // 2, match.end()) for match in _NUMBERED_LINE.finditer(text, start, end)]
    outermost = min((indent for indent, _ in lines), default=0)
    places = {place for indent, place in lines if indent == outermost}
    expected = 1
    for match in _NUMBERED_INLINE.finditer(text, start, end):
        if int(match[1]) == expected and (expected == 1 or text[match.start() - 1] in _ENDS):
            places.add(match.end())
            expected += 1
    return sorted(places)


def _points(text: str, start: int, end: int) -> list[list[int]]:
    """Return where the points of lists begin, by depth: `(a)` before its `(1)`, before its `(A)`.

    Which kind of label is the outer one is told by which came first; bullets and `1.` also by their indent.
    """
    depths: list[list[int]] = [[] for _ in range(DEPTHS)]
    outline: list[tuple[str, str]] = []  # of each depth, the kind of label and the last one
    for match in _POINT.finditer(text[start:end]):
        mark, indent = match["inline"] or match["line"], len(match["indent"] or "") // 2
        labels = re.findall(r"\w+", mark) if mark.endswith(")") else [mark]
        for nth, label in enumerate(labels):
            kind = _kind(label, outline) if mark.endswith(")") else f"{label[-1]}{indent}"
            kinds = [outer for outer, _ in outline]
            depth = kinds.index(kind) if kind in kinds else len(outline)
            outline[depth:] = [(kind, label)]
            if nth == 0:
                depths[min(depth, DEPTHS - 1)].append(start + match.end())
    return depths


def _kind(label: str, outline: Sequence[tuple[str, str]]) -> str:
    """Return the kind of a label: 1, a, A, i or I. `(i)` is a letter behind `(h)`, and else a number."""
    if label.isdigit():
        return "1"
    letter, roman = ("a", "i") if label.islower() else ("A", "I")
    before = dict(outline)
    follows = len(label) == 1 and before.get(letter) == chr(ord(label) - 1)
    counts = _ROMAN.fullmatch(label) and (roman in before or label[0] == roman)
    return roman if counts and not follows else letter


def _definitions(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of definitions that have at most `size` characters."""
    found = list(_DEFINITION.finditer(text, start, end))
    for nth, match in enumerate(found, start=1):
        following = found[nth].start() if nth < len(found) else end
        limit = min(following, match.start() + size)
        stop = _DEFINITION_END.search(text, match.end(), limit)
        if stop or limit == following:
            yield match.start(), stop.end() if stop else following


def _sentences(text: str, start: int, end: int) -> list[int]:
    """Return where sentences begin, those of Chinese and Japanese too."""
    places = {start + first for first, _ in sentences(text[start:end])}
    return sorted(places.union(_ends(_WIDE_STOP, text, start, end)))
