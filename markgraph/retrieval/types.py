"""What flows between loading, chunking, indexing and retrieving."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from markgraph.security.caller import Caller


@dataclass(frozen=True)
class Heading:
    """Where a section begins in a document's text."""

    offset: int
    """Index of the section's first character."""
    level: int
    """1 for the outermost."""
    title: str


@dataclass(frozen=True)
class Document:
    """The text of one document, and the structure that was found while reading it."""

    source: str
    """Path or URI, unique within a tenant."""
    text: str
    title: str
    headings: tuple[Heading, ...] = ()
    """In order of offset."""
    pages: tuple[int, ...] = ()
    """Offset at which each page begins, first page first; empty where there are no pages."""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """A stretch of one document: `document.text[start:end] == text`."""

    text: str
    source: str
    title: str
    start: int
    end: int
    heading: tuple[str, ...] = ()
    """Titles of the sections around it, outermost first."""
    page: int | None = None
    """1-based page on which it begins."""
    page_breaks: tuple[int, ...] = ()
    """Offsets in the document at which further pages begin within the chunk."""
    tenant: str = "default"
    readers: tuple[str, ...] = ()
    """Reader atoms (`public`, `u:SUBJECT`, `g:GROUP`); empty means nobody."""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return an id that the same stretch of the same document always gets."""
        key = "\0".join((self.tenant, self.source, str(self.start), self.text))
        return sha256(key.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Place:
    """Where a part of a fused index saw a chunk."""

    part: str
    rank: int
    """1 for the best."""
    score: float


@dataclass(frozen=True)
class Hit:
    """A chunk that a search found; a higher score is better, and comparable within one search only."""

    chunk: Chunk
    score: float
    places: tuple[Place, ...] = ()
    """What the score was fused from; empty where it wasn't."""


class Index(Protocol):
    """Stores chunks and finds those that a caller may read.

    `tests/retrieval/index_suite.py` is the conformance suite of this port.
    """

    @property
    def name(self) -> str:
        """Return what results call it."""

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Store `chunks`; one that is there already is replaced, with its permissions."""

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids; unknown ids are ignored."""

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read, best first.

        Raises:
            DeniedError: when the caller is nobody.
        """

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
