"""Reads DOCX: the body in order, with headings by style and tables as rows.

Goes through the XML itself rather than python-docx's paragraphs, which leave out tracked insertions, content
controls and text boxes. Does NOT read headers, footers, footnotes and comments, and does not compute the
numbers of automatically numbered paragraphs.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import docx
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml.ns import qn

from markgraph.documents.headings import first_title
from markgraph.documents.text import Block, assemble, clean, stem
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

_MOST_BYTES = 2**30
_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_PARAGRAPH, _ROW, _CELL, _RUN = qn("w:p"), qn("w:tr"), qn("w:tc"), qn("w:r")
_TEXT_BOX = qn("w:txbxContent")
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
_NO_TITLE = "Word Document"  # what python-docx says of a file without properties


def read_docx(data: bytes, source: str) -> Document:
    """Read a Word document; its title is the one in its properties, else the first outermost heading.

    Raises:
        DocumentError: when it is damaged, encrypted, or no DOCX at all.
    """
    try:
        _check_size(data)
        package = docx.Document(BytesIO(data))
        text, headings = assemble(_blocks(package.element.body, _levels(package)))
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


def _check_size(data: bytes) -> None:
    """Raise ValueError for a few bytes that unpack to more than memory holds."""
    with ZipFile(BytesIO(data)) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > _MOST_BYTES:
        raise ValueError(f"it unpacks to {size} bytes, of which {_MOST_BYTES} are allowed")


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


def _blocks(container: Any, levels: dict[str, int]) -> Iterator[Block]:
    """Yield paragraphs and table rows of `container` in order, content controls opened."""
    for element in container.iterchildren():
        if element.tag == _PARAGRAPH:
            yield _paragraph(element, levels)
            for box in element.iter(_TEXT_BOX):
                if not _within(box, element, _UNREAD):
                    yield from _blocks(box, levels)
        elif element.tag == qn("w:tbl"):
            yield from _rows(element, levels)
        elif element.tag in _TRANSPARENT:
            yield from _blocks(element, levels)


def _paragraph(element: Any, levels: dict[str, int]) -> Block:
    style = element.find(f"{qn('w:pPr')}/{qn('w:pStyle')}")
    level = 0 if style is None else levels.get(style.get(qn("w:val")), 0)
    is_item = element.find(f"{qn('w:pPr')}/{qn('w:numPr')}") is not None and not level
    text = "".join(_run(run) for run in element.iter(_RUN) if not _within(run, element, _UNREAD))
    return Block(text, level, tight=is_item)


def _run(run: Any) -> str:
    """Return the text of a run, none where it is hidden."""
    hidden = run.find(f"{qn('w:rPr')}/{qn('w:vanish')}")
    if hidden is not None and hidden.get(qn("w:val")) not in {"0", "false"}:
        return ""
    return "".join(part.text or "" if part.tag == qn("w:t") else _SIGNS.get(part.tag, "") for part in run)


def _rows(table: Any, levels: dict[str, int]) -> Iterator[Block]:
    """Yield each row as `a | b`; a cell's paragraphs and inner tables stand in one line."""
    for row in table.iter(_ROW):
        if _within(row, table, frozenset({_CELL})):
            continue
        cells = [cell for cell in row.iter(_CELL) if not _within(cell, row, frozenset({_CELL}))]
        texts = [" ".join(" ".join(block.text for block in _blocks(cell, levels)).split()) for cell in cells]
        if any(texts):
            yield Block(" | ".join(texts), tight=True)


def _within(element: Any, top: Any, tags: frozenset[str]) -> bool:
    """Tell whether one of `tags` lies between `element` and `top`."""
    for ancestor in element.iterancestors():
        if ancestor is top:
            return False
        if ancestor.tag in tags:
            return True
    return False
