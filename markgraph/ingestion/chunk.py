"""Cuts a document into chunks where its structure has seams.

Does NOT overlap chunks, and repeats no heading in them: `Chunk.heading` names the sections around each.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markgraph.documents.types import Document, Heading
from markgraph.errors import ConfigError
from markgraph.retrieval.types import Chunk
from markgraph.security.permissions import Permissions
from markgraph.text import sentences

_NUMBERED_LINE = re.compile(r"\n[ \t]*(?=(?:\d{1,3}\.)+(?:\d{1,3})?[ \t])")
_NUMBERED_INLINE = re.compile(r"(?<=[^\s\d])[ \t]+(?=(\d{1,3})\. \S)")
_ENDS = frozenset(".;:)'\"\u2019\u201d")
_POINT = re.compile(
    r"[;:.][\u2019\u201d'\"]?\s+(?:(?:and|or)\s+)?(?=\([a-z0-9]{1,4}\)\s)"
    r"|\n[ \t]*(?=\(?[a-zA-Z0-9]{1,4}\)[ \t]|[-*\u2022\u2013][ \t])"
)
_BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
_WIDE_STOP = re.compile("[\u3002\uff01\uff1f]")
_LINE = re.compile(r"\n\s*")
_WORD = re.compile(r"\s+")


@dataclass(frozen=True)
class Chunker:
    """Cuts documents into chunks of at most `size` characters.

    MiniLM reads 256 word pieces and ignores the rest. European law has 5.2 characters a piece, policies 4.5;
    of 404 articles cut at 900 no chunk has more than 232 pieces, which leaves room for its headings.

    Raises:
        ConfigError: when `size` is less than twice `min_size`.
    """

    size: int = 900
    """Characters a chunk has at most."""
    min_size: int = 120
    """Characters it has at least, unless its whole section is shorter."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_size <= self.size // 2:
            raise ConfigError(
                f"Chunker has size {self.size} and min_size {self.min_size}. "
                "Expected: 1 <= min_size <= size / 2. Raise the one or lower the other."
            )

    def __call__(
        self,
        document: Document,
        permissions: Permissions = Permissions(),  # noqa: B008 -- frozen
    ) -> list[Chunk]:
        """Return the chunks of `document` in order.

        None crosses a heading. In a section longer than `size` the cuts are, as far as they can be, at
        numbered paragraphs, then points, empty lines, sentences, lines, words, and near to even. A heading's
        own line is in its section's first chunk. Only whitespace is left out, and nothing is in two chunks.
        """
        return [
            Chunk(
                text=document.text[start:end],
                source=document.source,
                title=document.title,
                start=start,
                end=end,
                heading=heading,
                page=max(1, bisect_right(document.pages, start)) if document.pages else None,
                page_breaks=tuple(offset for offset in document.pages if start < offset < end),
                tenant=permissions.tenant,
                readers=permissions.readers,
                classification=permissions.classification,
                metadata=dict(document.metadata),
            )
            for heading, begin, stop in _sections(document)
            for start, end in self._spans(document.text, begin, stop)
        ]

    def _spans(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the spans of the chunks of one section, without whitespace at their ends."""
        start, end = _trim(text, start, end)
        if end - start > self.size:
            seams = [find(text, start, end) for find in _SEAMS]
            while end - start > self.size:
                cut = self._cut(seams, start, end)
                if start < (stop := _trim(text, start, cut)[1]):
                    yield start, stop
                start = _trim(text, cut, end)[0]
        if start < end:
            yield start, end

    def _cut(self, seams: Sequence[Sequence[int]], start: int, end: int) -> int:
        """Return where the first chunk of a span longer than `size` ends."""
        low, high = start + self.min_size, min(start + self.size, end - self.min_size)
        even = start + (end - start) / -((start - end) // self.size)
        for places in seams:
            if fitting := places[bisect_left(places, low) : bisect_right(places, high)]:
                return min(fitting, key=lambda place: abs(place - even))
        return high


def _sections(document: Document) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Yield the titles around each section with its start and end; first, what stands before any heading."""
    headings = document.headings
    stops = [*(heading.offset for heading in headings), len(document.text)]
    yield (), 0, stops[0]
    path: list[Heading] = []
    for heading, stop in zip(headings, stops[1:], strict=True):
        path = [*(outer for outer in path if outer.level < heading.level), heading]
        yield tuple(outer.title for outer in path), heading.offset, stop


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without whitespace at its ends; an empty one where there is nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _numbered(text: str, start: int, end: int) -> list[int]:
    """Return where numbered paragraphs begin: on a line of their own, or counting up within one line.

    European law often comes without its line ends: `Subject-matter 1. This Regulation ... 2. This ...`.
    """
    places = {match.end() for match in _NUMBERED_LINE.finditer(text, start, end)}
    expected = 1
    for match in _NUMBERED_INLINE.finditer(text, start, end):
        if int(match[1]) == expected and (expected == 1 or text[match.start() - 1] in _ENDS):
            places.add(match.end())
            expected += 1
    return sorted(places)


def _sentences(text: str, start: int, end: int) -> list[int]:
    """Return where sentences begin, those of Chinese and Japanese too."""
    places = {start + first for first, _ in sentences(text[start:end])}
    return sorted(places.union(match.end() for match in _WIDE_STOP.finditer(text, start, end)))


def _at(pattern: re.Pattern[str]) -> Callable[[str, int, int], list[int]]:
    """Return a function that lists where the matches of `pattern` end."""
    return lambda text, start, end: [match.end() for match in pattern.finditer(text, start, end)]


_SEAMS = (_numbered, _at(_POINT), _at(_BLANK_LINE), _sentences, _at(_LINE), _at(_WORD))
