"""Cuts a document into chunks where its structure has seams.

Does NOT overlap chunks, and repeats no heading in them: `Chunk.heading` names the sections around each.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markgraph.documents.types import Document, Heading
from markgraph.errors import ConfigError
from markgraph.ingestion.seams import find_seams
from markgraph.ingestion.tables import Table, find_tables
from markgraph.ingestion.tokens import TokenCounts, count_inner
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.types import Chunk
from markgraph.security.permissions import Permissions

Titles = tuple[str, ...]
PUBLIC = Permissions(readers=("public",))
_SPACE = re.compile(r"\s+")
LEAST_SHARE = 8
"""However long its headings are, a chunk may take one part in so many of what the embedder reads."""


@dataclass(frozen=True, repr=False)
class Chunker:
    """Cuts documents into chunks of at most `size` characters, and no longer than the embedder reads.

    MiniLM reads 256 word pieces and ignores the rest. European law has 5.2 characters a piece, policies 4.5;
    of 404 articles cut at 900 no chunk has more than 232 pieces. Tables, numbers and other languages take
    more, which is counted in the embedder's own tokens, together with the headings embedded with a chunk.

    Raises:
        ConfigError: when `size` is less than twice `min_size`, or `max_tokens` less than 1.
    """

    size: int = 900
    """Characters a chunk has at most."""
    min_size: int = 120
    """Characters it has at least, unless its whole section is shorter or its tokens are too many."""
    embedder: Embedder | None = None
    """What counts tokens; without it only characters are."""
    max_tokens: int | None = None
    """Tokens that a chunk and its headings have together; None for as many as the embedder reads."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_size <= self.size // 2:
            raise ConfigError(
                f"Chunker has size {self.size} and min_size {self.min_size}. "
                "Expected: 1 <= min_size <= size / 2. Raise the one or lower the other."
            )
        if self.max_tokens is not None and (self.max_tokens < 1 or self.embedder is None):
            raise ConfigError(
                f"Chunker has max_tokens {self.max_tokens} and embedder {self.embedder!r}. Expected: 1 or "
                "more, and an embedder that counts them. Leave max_tokens out for what the embedder reads."
            )

    def __repr__(self) -> str:
        """Return what decides where documents are cut: a ledger compares it."""
        counted = self.embedder.name if self.embedder else None
        return f"Chunker({self.size}, {self.min_size}, {counted!r}, {self.max_tokens})"

    def __call__(self, document: Document, permissions: Permissions = PUBLIC) -> list[Chunk]:
        """Return the chunks of `document` in order, each with the ids of its neighbours.

        None crosses a heading. A section that is too long is cut at `find_seams`, the best kind that there
        is, near to even. A heading's own line is in its section's first chunk. Only whitespace is left
        out, and nothing is in two chunks: a chunk that goes on with a table has the table's header row as
        the innermost of its headings, so that it is embedded, searched and cited with its rows (unless
        the headings were then more than half of what is embedded).

        With headings longer than seven eighths of what the embedder reads, a chunk may take one eighth,
        and the embedder misses its end.
        """
        tables = find_tables(document.text)
        counted = _Counted(document, self.embedder, self.max_tokens) if self.embedder else None
        cutter = _Cutter(self, document.text, tables, counted)
        chunks = [
            _chunk(document, permissions, heading, start, end)
            for section in _sections(document)
            for heading, start, end in cutter.cut(*section)
        ]
        return _linked(chunks)


class _Counted:
    """Knows how many of a document's tokens fit under which headings."""

    def __init__(self, document: Document, embedder: Embedder, max_tokens: int | None) -> None:
        self.embedder, self.title = embedder, document.title
        self.counts = TokenCounts.of(document.text, embedder)
        most = min(embedder.context_tokens, max_tokens or embedder.context_tokens)
        self.room = most - embedder.count_tokens([""])[0]
        self._taken: dict[Titles, int] = {}

    def fit(self, heading: Titles) -> int:
        """Return how many tokens a chunk under `heading` may have; without headings it has the title."""
        titles = heading or (self.title,)
        if titles not in self._taken:
            self._taken[titles] = sum(count_inner(list(titles), self.embedder))
        return max(self.room - self._taken[titles], self.room // LEAST_SHARE, 1)


@dataclass
class _Cutter:
    """Cuts the sections of one document."""

    chunker: Chunker
    text: str
    tables: Sequence[Table]
    counted: _Counted | None
    titles: Titles = ()
    seams: Sequence[tuple[int, ...]] = ()

    def cut(self, titles: Titles, start: int, end: int) -> Iterator[tuple[Titles, int, int]]:
        """Yield the heading and the span of each chunk, without whitespace at its ends."""
        self.titles, self.seams = titles, ()
        start, end = _trim(self.text, start, end)
        while start < end:
            heading = self._heading(start)
            stop = self._first_end(start, end, heading)
            yield heading, start, _trim(self.text, start, stop)[1]
            start = _trim(self.text, stop, end)[0]

    def _first_end(self, start: int, end: int, heading: Titles) -> int:
        """Return where the first chunk of a span that begins and ends with a word ends."""
        size, min_size = self.chunker.size, self.chunker.min_size
        parts, reach = -((start - end) // size), start + size
        if self.counted:
            fit = self.counted.fit(heading)
            parts = max(parts, -(-self.counted.counts.between(start, end) // fit))
            reach = min(reach, max(self.counted.counts.reach(start, fit), start + 1))
        if parts <= 1:
            return end
        if not self.seams:
            self.seams = find_seams(self.text, start, end, tables=self.tables, size=size)
        low = min(start + min_size, reach)
        high = max(low, min(reach, end - min_size))
        return self._nearest(start + (end - start) / parts, low, high)

    def _nearest(self, even: float, low: int, high: int) -> int:
        """Return the best seam from `low` to `high`, or where a word begins: the one nearest to `even`."""
        for places in self.seams:
            if fitting := places[bisect_left(places, low) : bisect_right(places, high)]:
                return min(fitting, key=lambda place: abs(place - even))
        words = (match.end() for match in _SPACE.finditer(self.text, low, high))
        return min(words, key=lambda place: abs(place - even), default=high)

    def _heading(self, start: int) -> Titles:
        """Return the titles around a chunk, with the header of the table that it goes on with."""
        at = bisect_right(self.tables, start, key=lambda table: table.start) - 1
        if at < 0 or not self.tables[at].header or not self.tables[at].continues_at(start):
            return self.titles
        with_header = (*self.titles, self.tables[at].header)
        fits = not self.counted or self.counted.fit(with_header) > self.counted.room // 2
        return with_header if fits else self.titles


def _chunk(document: Document, permissions: Permissions, heading: Titles, start: int, end: int) -> Chunk:
    pages = document.pages
    first = bisect_right(pages, start)
    return Chunk(
        text=document.text[start:end],
        source=document.source,
        title=document.title,
        start=start,
        end=end,
        heading=heading,
        page=max(1, first) if pages else None,
        page_breaks=pages[first : bisect_left(pages, end)],
        tenant=permissions.tenant,
        readers=permissions.readers,
        classification=permissions.classification,
        metadata=dict(document.metadata),
    )


def _linked(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return `chunks` with the ids of their neighbours."""
    ids = ["", *(chunk.id for chunk in chunks), ""]
    return [
        replace(chunk, before=before, after=after)
        for chunk, before, after in zip(chunks, ids[:-2], ids[2:], strict=True)
    ]


def _sections(document: Document) -> Iterator[tuple[Titles, int, int]]:
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
