"""Reads DOCX: the body in order, with headings by style, automatic numbers, notes, and tables as rows.

Goes through the XML itself rather than python-docx's paragraphs, which leave out tracked insertions, content
controls and text boxes. A footnote or endnote follows the paragraph that refers to it: `... (note 1)`, then
`Note 1: ...`. Does NOT read headers, footers and comments.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import docx
from docx.enum.style import WD_STYLE_TYPE
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import qn

from markgraph.documents.archive import check_size
from markgraph.documents.headings import first_title
from markgraph.documents.numbering import Numbering
from markgraph.documents.numerals import roman
from markgraph.documents.tables import BAR, Cell, row_blocks
from markgraph.documents.text import Block, assemble, clean, stem
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_PARAGRAPH, _ROW, _CELL, _RUN = qn("w:p"), qn("w:tr"), qn("w:tc"), qn("w:r")
_TEXT_BOX, _VALUE = qn("w:txbxContent"), qn("w:val")
_TRANSPARENT = frozenset(map(qn, ("w:sdt", "w:sdtContent", "w:customXml", "w:ins")))
_REMOVED = frozenset(
    {
        qn("w:del"),
        qn("w:moveFrom"),
        "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",  # says the same once more
    }
)
_UNREAD = _REMOVED | {_TEXT_BOX}
_SIGNS = {qn("w:tab"): "\t", qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:noBreakHyphen"): "-"}
_NOTES = {qn("w:footnoteReference"): "note", qn("w:endnoteReference"): "endnote"}
_NO_TITLE = "Word Document"  # what python-docx says of a file without properties


def read_docx(data: bytes, source: str) -> Document:
    """Read a Word document; its title is the one in its properties, else the first outermost heading.

    Raises:
        DocumentError: when it is damaged, encrypted, or no DOCX at all.
    """
    try:
        check_size(data)
        package = docx.Document(BytesIO(data))
        text, headings = assemble(_Body(package).blocks(package.element.body))
        named = clean(package.core_properties.title or "").strip()
    # python-docx lets through whatever zipfile, lxml and a missing part raise: BadZipFile, KeyError, ...
    except Exception as error:
        raise DocumentError(
            f"Cannot read {source} as DOCX ({type(error).__name__}: {error}). It is damaged, encrypted, or "
            "another format under this suffix: open it in a word processor and save it as DOCX."
        ) from error
    title = named if named != _NO_TITLE else ""
    return Document(
        source=source, text=text, title=title or first_title(headings) or stem(source), headings=headings
    )


class _Body:
    """Reads a document from its beginning to its end, and counts its numbers and notes on the way."""

    def __init__(self, package: Any) -> None:
        self._levels = _levels(package)
        self._numbering = Numbering(_part(package, RELATIONSHIP_TYPE.NUMBERING), package.styles.element)
        self._notes = _notes(package)
        self._counts = dict.fromkeys(_NOTES.values(), 0)

    def blocks(self, container: Any) -> Iterator[Block]:
        """Yield paragraphs and table rows of `container` in order, content controls opened."""
        for element in container.iterchildren():
            if element.tag == _PARAGRAPH:
                yield from self._paragraph(element)
            elif element.tag == qn("w:tbl"):
                yield from row_blocks(self._rows(element), element)
            elif element.tag in _TRANSPARENT:
                yield from self.blocks(element)

    def _paragraph(self, element: Any) -> Iterator[Block]:
        """Yield a paragraph, the notes that it refers to, and its text boxes."""
        style = element.find(f"{qn('w:pPr')}/{qn('w:pStyle')}")
        level = 0 if style is None else self._levels.get(style.get(_VALUE), 0)
        notes: list[Block] = []
        text = "".join(
            self._run(run, notes, is_heading=level > 0)
            for run in element.iter(_RUN)
            if not _within(run, element, _UNREAD)
        )
        was_deleted = element.find(f"{qn('w:pPr')}/{qn('w:rPr')}/{qn('w:del')}") is not None
        number = None if was_deleted and not text.strip() else self._numbering.count(element)
        if text.strip():
            yield Block((number or "") + text.lstrip(), level, tight=number is not None and not level)
        yield from notes
        for box in element.iter(_TEXT_BOX):
            if not _within(box, element, _UNREAD):
                yield from self.blocks(box)

    def _run(self, run: Any, notes: list[Block], *, is_heading: bool) -> str:
        """Return the text of a run, none where it is hidden, and add the notes that it refers to."""
        hidden = run.find(f"{qn('w:rPr')}/{qn('w:vanish')}")
        if hidden is not None and hidden.get(_VALUE) not in {"0", "false"}:
            return ""
        text = ""
        for part in run:
            if part.tag in _NOTES:
                mark = self._note(part, notes)
                text += f" ({mark})" if mark and not is_heading else ""
            else:
                text += part.text or "" if part.tag == qn("w:t") else _SIGNS.get(part.tag, "")
        return text

    def _note(self, reference: Any, notes: list[Block]) -> str:
        """Read a note where it is first referred to, and return what it is called."""
        kind = _NOTES[reference.tag]
        note = self._notes.pop((kind, reference.get(qn("w:id"))), None)
        if note is None:
            return ""
        self._counts[kind] += 1
        count = self._counts[kind]
        mark = f"{kind} {roman(count) if kind == 'endnote' else count}"
        notes.append(Block(f"{mark.capitalize()}: {self._line(note)}", tight=True))
        return mark

    def _rows(self, table: Any) -> Iterator[list[Cell]]:
        for row in table.iter(_ROW):
            if _within(row, table, frozenset({_CELL})):
                continue
            late = Cell("", _value(row, "w:trPr", "w:gridBefore", 0))
            cells = [
                self._cell(cell) for cell in row.iter(_CELL) if not _within(cell, row, frozenset({_CELL}))
            ]
            yield [late, *cells] if late.columns else cells

    def _cell(self, cell: Any) -> Cell:
        """Return a cell; one that only continues a merged cell is empty."""
        merges = [cell.find(f"{qn('w:tcPr')}/{qn(name)}") for name in ("w:vMerge", "w:hMerge")]
        goes_on = any(merge is not None and merge.get(_VALUE) != "restart" for merge in merges)
        return Cell("" if goes_on else self._line(cell), _value(cell, "w:tcPr", "w:gridSpan", 1))

    def _line(self, container: Any) -> str:
        """Return paragraphs and inner tables as one line."""
        texts = (
            block.text if block.table is None else ", ".join(filter(None, block.text.split(BAR)))
            for block in self.blocks(container)
        )
        return " ".join(" ".join(texts).split())


def _part(package: Any, kind: str) -> Any:
    """Return the root of a part that belongs to the document, None where it has no such part."""
    related = (each for each in package.part.rels.values() if each.reltype == kind and not each.is_external)
    return next((parse_xml(each.target_part.blob) for each in related), None)


def _notes(package: Any) -> dict[tuple[str, str], Any]:
    """Return footnotes and endnotes by their kind and id."""
    found = {}
    kinds = {"note": RELATIONSHIP_TYPE.FOOTNOTES, "endnote": RELATIONSHIP_TYPE.ENDNOTES}
    for kind, relationship in kinds.items():
        root = _part(package, relationship)
        for note in root.iterchildren() if root is not None else ():
            found[kind, note.get(qn("w:id"))] = note
    return found


def _levels(package: Any) -> dict[str, int]:
    """Return the heading level of each paragraph style by its id; a style inherits it."""
    levels = {}
    styles = [style for style in package.styles if style.type == WD_STYLE_TYPE.PARAGRAPH]
    for style in styles:
        base: Any = style
        for _ in styles:  # in a damaged file styles may inherit from each other in a ring
            found = _HEADING.fullmatch(base.name or "")
            if found or base.name == "Title":
                levels[style.style_id] = int(found[1]) if found else 1
                break
            base = base.base_style
            if base is None:
                break
    return levels


def _value(element: Any, properties: str, name: str, default: int) -> int:
    """Return a number among the properties of a row or a cell."""
    found = element.find(f"{qn(properties)}/{qn(name)}")
    return int(found.get(_VALUE, default)) if found is not None else default


def _within(element: Any, top: Any, tags: frozenset[str]) -> bool:
    """Tell whether one of `tags` lies between `element` and `top`."""
    for ancestor in element.iterancestors():
        if ancestor is top:
            return False
        if ancestor.tag in tags:
            return True
    return False
