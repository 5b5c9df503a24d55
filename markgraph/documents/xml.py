"""Reads XML by a mapping: which elements are headings, numbers, paragraphs and tables, and what is left out.

Does NOT read documents that declare entities, nor fetch anything that a document refers to, its DTD included.
"""

from collections.abc import Iterator
from html import unescape
from typing import Any

from lxml import etree

from markgraph.documents.headings import first_title
from markgraph.documents.tables import BAR, Cell, row_lines
from markgraph.documents.text import Block, assemble, clean, join, stem
from markgraph.documents.types import Document
from markgraph.documents.xml_mapping import XmlMapping
from markgraph.errors import DocumentError

_LONGEST_FIELD = 500
"""Characters of a field of metadata, which every chunk repeats."""
_Held = tuple[Any, str, bool]


def read_xml(data: bytes, source: str, mapping: XmlMapping | None = None) -> Document:
    """Read an XML file; its title is the one that `mapping` finds, else the first outermost heading.

    Where the mapping finds several documents in it, each begins with its own title as heading.

    Raises:
        DocumentError: when it is damaged, declares entities, or holds none of the mapping's documents.
    """
    mapping = mapping or XmlMapping()
    try:
        root = _parsed(data, keeps_namespaces=bool(mapping.namespaces))
        tops = _outermost(_found(root, mapping.document, mapping))
        if not tops:
            raise ValueError(f"its root is {root.tag}, and {mapping.document} finds no element in it")
        readings = [_Reading(top, mapping) for top in tops]
        text, headings, _ = join(assemble(reading.blocks()) for reading in readings)
        metadata = {name: _field(tops, path, mapping) for name, path in mapping.metadata.items()}
    # lxml raises XMLSyntaxError, and ValueError or LookupError for encodings.
    except Exception as error:
        raise DocumentError(
            f"Cannot read {source} as XML ({type(error).__name__}: {error}). It is damaged, or of another "
            "kind than the mapping says: check it with `xmllint`, and the settings of the corpus."
        ) from error
    title = readings[0].title if len(readings) == 1 else ""
    return Document(
        source=source,
        text=text,
        title=title or first_title(headings) or stem(source),
        headings=headings,
        metadata={name: value for name, value in metadata.items() if value},
    )


def _parsed(data: bytes, *, keeps_namespaces: bool) -> Any:
    """Return the root; what is left of entities is that of HTML, as `&nbsp;`, written out."""
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    root = etree.fromstring(data, parser)
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and next(dtd.iterentities(), None) is not None:
        raise ValueError("it declares entities, which are not read")
    for entity in list(root.iter(etree.Entity)):
        _append(entity, unescape(entity.text) + (entity.tail or ""))
        entity.getparent().remove(entity)
    if not keeps_namespaces:
        for element in root.iter(etree.Element):
            element.tag = etree.QName(element).localname
    return root


def _append(node: Any, text: str) -> None:
    """Add `text` to what stands before `node`."""
    before, parent = node.getprevious(), node.getparent()
    node.tail = None
    if before is not None:
        before.tail = (before.tail or "") + text
    else:
        parent.text = (parent.text or "") + text


def _found(element: Any, path: str, mapping: XmlMapping) -> list[Any]:
    """Return what an XPath finds: elements, or texts where it asks for attributes or makes a string."""
    if not path:
        return []
    found = element.xpath(path, namespaces=dict(mapping.namespaces) or None)
    return found if isinstance(found, list) else [found]


def _outermost(found: list[Any]) -> list[Any]:
    """Return the elements that lie in no other one of them."""
    elements = [each for each in found if etree.iselement(each)]
    known = set(elements)
    return [each for each in elements if known.isdisjoint(each.iterancestors())]


def _plain(found: Any) -> str:
    text = "".join(found.itertext()) if etree.iselement(found) else str(found)
    return " ".join(clean(text).split())


def _field(tops: list[Any], path: str, mapping: XmlMapping) -> str:
    """Return the different values that an XPath finds in the documents."""
    values = (_plain(found) for top in tops for found in _found(top, path, mapping))
    return ", ".join(dict.fromkeys(filter(None, values)))[:_LONGEST_FIELD]


class _Reading:
    """Reads one document of a file from its beginning to its end."""

    def __init__(self, top: Any, mapping: XmlMapping) -> None:
        self._top, self._mapping = top, mapping
        self._prefixes = {uri: prefix for prefix, uri in mapping.namespaces.items()}
        number, title = (_found(top, path, mapping) for path in (mapping.number, mapping.title))
        self.title = self._titled(*(" ".join(map(_plain, found)) for found in (number, title)))
        left_out = [each for path in mapping.left_out for each in _found(top, path, mapping)]
        self._skipped = {each for each in (*number, *title, *left_out) if etree.iselement(each)} - {top}
        self._rows = dict(self._laid_out())
        self._headed: dict[Any, bool] = {}
        self._labels: list[tuple[Any, str]] = []
        self._words: list[str] = []
        self._held: list[_Held] = []

    def blocks(self) -> Iterator[Block]:
        """Yield the title, then headings, paragraphs and rows in order."""
        if self.title:
            yield Block(self.title, level=1)
        walk = etree.iterwalk(self._top, events=("start", "end"))
        for event, element in walk:
            if event == "start" and (element in self._skipped or element in self._rows):
                if element in self._rows:
                    yield from self._flushed()
                    table, text = self._rows[element]
                    yield Block(text, tight=True, table=table)
                walk.skip_subtree()
            elif event == "start":
                yield from self._begun(element)
            else:
                yield from self._ended(element)

    def _begun(self, element: Any) -> Iterator[Block]:
        """Open an element; one that stands on its own lines ends what was before it."""
        name = self._name(element)
        is_named = any(name in names for names in (self._mapping.headings, self._mapping.numbers))
        is_named = is_named or name in self._mapping.paragraphs
        if is_named or not self._held or self._held[-1][2]:
            yield from self._flushed()
            has_text = bool((element.text or "").strip()) or any(
                (each.tail or "").strip() for each in element
            )
            self._held.append((element, name, not is_named and not has_text))
        self._words.append(element.text or "")

    def _ended(self, element: Any) -> Iterator[Block]:
        """Close an element, and go on with the text behind it."""
        if self._held and self._held[-1][0] is element:
            yield from self._flushed()
            self._held.pop()
        if self._labels and self._labels[-1][0] is element:  # a number with nothing behind it
            yield Block(self._labelled(""), tight=True)
        if element is not self._top:
            self._words.append(element.tail or "")

    def _flushed(self) -> Iterator[Block]:
        """Yield the text read since the last block, and keep it where it is a number."""
        text = " ".join("".join(self._words).split())
        self._words = []
        if not text:
            return
        element, name, _ = self._held[-1]
        if name in self._mapping.numbers:
            self._labels.append((element.getparent(), text))
        elif name in self._mapping.headings:
            yield Block(self._labelled(text), self._mapping.headings[name] or self._depth(element))
        else:
            is_numbered = bool(self._labels)
            yield Block(self._labelled(text), tight=is_numbered)

    def _labelled(self, text: str) -> str:
        labels = [label for _, label in self._labels]
        self._labels = []
        return " ".join(filter(None, (*labels, text)))

    def _depth(self, heading: Any) -> int:
        """Return the level of a heading by how many of the elements around it have one."""
        around = heading.iterancestors()
        depth = 1 if self.title else 0
        for element in around:
            depth += self._is_headed(element)
            if element is self._top:
                break
        return depth

    def _is_headed(self, element: Any) -> bool:
        if element not in self._headed:
            self._headed[element] = any(
                self._name(each) in self._mapping.headings and each not in self._skipped for each in element
            )
        return self._headed[element]

    def _titled(self, number: str, title: str) -> str:
        if not number or not title:
            return number or title
        return self._mapping.title_format.replace("{number}", number).replace("{title}", title)

    def _laid_out(self) -> Iterator[tuple[Any, tuple[Any, str]]]:
        """Yield each row of a table with its table and its line; one that holds other rows is no row."""
        tables: dict[Any, list[Any]] = {}
        for element in self._top.iter(etree.Element):
            if self._name(element) in self._mapping.rows:
                around = (
                    each for each in element.iterancestors() if self._name(each) in self._mapping.tables
                )
                if (table := next(around, None)) is not None:
                    tables.setdefault(table, []).append(element)
        for table, rows in tables.items():
            cells = [
                [self._cell(each) for each in row if self._name(each) in self._mapping.cells] for row in rows
            ]
            for row, line in zip(rows, row_lines(cells), strict=True):
                yield row, (table if BAR in line else None, line)

    def _cell(self, cell: Any) -> Cell:
        more = cell.get("morerows")  # CALS counts the rows beyond the first
        return Cell(
            _plain(cell),
            _count(cell.get("colspan")),
            _count(cell.get("rowspan")) if more is None else _count(more) + 1,
        )

    def _name(self, element: Any) -> str:
        """Return the name of an element as a mapping writes it."""
        name = etree.QName(element)
        prefix = self._prefixes.get(name.namespace)
        return f"{prefix}:{name.localname}" if prefix else str(element.tag)


def _count(value: str | None) -> int:
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 10 else 1
