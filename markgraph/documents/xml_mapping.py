"""Says what the elements of a kind of XML mean."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lxml import etree

from markgraph.errors import ConfigError

_NAME = re.compile(r"(?:[^\W\d][\w.-]*:)?[^\W\d][\w.-]*")
_LISTS = ("tables", "rows", "cells", "numbers", "paragraphs", "left_out")
_TABLES_BY_NAME = ("headings", "metadata", "namespaces")


@dataclass(frozen=True)
class XmlMapping:
    """What the elements of a kind of XML mean; the defaults fit many.

    Elements go by their names, and XPaths begin at the document's element. Where `namespaces` is empty, both
    do as if the file had none. All values are plain, so that a mapping can be written as JSON.

    Raises:
        ConfigError: when a name or an XPath is malformed, or has a prefix that is not among `namespaces`.
    """

    document: str = "/*"
    """XPath, from the root, of the elements that are read one after the other: outside of them nothing is."""
    number: str = ""
    """XPath of the document's number, read as a part of its first heading and nowhere else."""
    title: str = ""
    """XPath of its title; likewise."""
    title_format: str = "{number} {title}"
    """What its first heading and its title are made of, where it has both."""
    headings: Mapping[str, int] = field(
        default_factory=lambda: (
            {"title": 0, "heading": 0, "head": 0} | {f"h{level}": level for level in range(1, 7)}
        )
    )
    """Level by element; 0 tells it by how many elements around it have a heading of their own."""
    numbers: Sequence[str] = ("num", "enum", "label")
    """Elements whose text stands before what follows them, as `(a)` does."""
    paragraphs: Sequence[str] = ("p", "para", "li", "item", "text")
    """Elements that stand on lines of their own, unnamed ones within them do not. Of the other elements, one
    among text belongs to it, and all others stand on lines of their own."""
    tables: Sequence[str] = ("table", "informaltable")
    rows: Sequence[str] = ("tr", "row")
    cells: Sequence[str] = ("td", "th", "entry")
    left_out: Sequence[str] = ()
    """XPaths of what is not read."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """XPath by name."""
    namespaces: Mapping[str, str] = field(default_factory=dict)
    """URI by prefix."""

    def __post_init__(self) -> None:
        for name in _LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in _TABLES_BY_NAME:
            object.__setattr__(self, name, dict(getattr(self, name)))
        names = (*self.headings, *self.numbers, *self.paragraphs, *self.tables, *self.rows, *self.cells)
        for name in names:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"{name!r} is no name of an XML element. Expected NAME or PREFIX:NAME.")
        paths = filter(
            None, (self.document, self.number, self.title, *self.left_out, *self.metadata.values())
        )
        for path in (*names, *paths):
            self._check(path)

    def _check(self, path: str) -> None:
        try:
            etree.Element("nothing").xpath(path, namespaces=dict(self.namespaces) or None)
        except (etree.XPathError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{path!r} is no XPath of this mapping: {error}. Its prefixes are those of namespaces: "
                f"{', '.join(self.namespaces) or 'none'}."
            ) from error
