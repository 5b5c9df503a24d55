"""What reading a file gives."""

from dataclasses import dataclass, field


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
