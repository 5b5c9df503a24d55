"""Reads PPTX: each slide is a page, with its title as heading, its text, tables as rows, and its notes.

Slides that are left out of the show are read. Does NOT read charts, SmartArt, masters and comments, and
writes no list marks.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from markgraph.documents.archive import check_size
from markgraph.documents.headings import first_title
from markgraph.documents.tables import Cell, row_blocks
from markgraph.documents.text import Block, assemble, clean, join, stem
from markgraph.documents.types import Document
from markgraph.errors import DocumentError

_NO_TITLE = "PowerPoint Presentation"  # what PowerPoint writes where nobody named it
_LONGEST_TITLE = 100


def read_pptx(data: bytes, source: str) -> Document:
    """Read a presentation; its title is the one in its properties, else the first slide's.

    A slide without a title has its first line as heading, where that is short.

    Raises:
        DocumentError: when it is damaged, encrypted, or no PPTX at all.
    """
    from pptx import Presentation

    try:
        check_size(data)
        package = Presentation(BytesIO(data))
        text, headings, pages = join(assemble(_slide(slide)) for slide in package.slides)
        named = clean(package.core_properties.title or "").strip()
    # python-pptx lets through whatever zipfile, lxml and a missing part raise: BadZipFile, KeyError, ...
    except Exception as error:
        raise DocumentError(
            f"Cannot read {source} as PPTX ({type(error).__name__}: {error}). It is damaged, encrypted, or "
            "another format under this suffix: open it in a presentation program and save it as PPTX."
        ) from error
    title = named if named != _NO_TITLE else ""
    return Document(
        source=source,
        text=text,
        title=title or first_title(headings) or stem(source),
        headings=headings,
        pages=pages,
    )


def _slide(slide: Any) -> Iterator[Block]:
    """Yield the title of a slide, its shapes, and its notes."""
    title = slide.shapes.title
    named = _plain(title.text_frame.text) if title is not None else ""
    if named:
        yield Block(named, level=1)
    others = (each for each in slide.shapes if title is None or each.shape_id != title.shape_id)
    for number, block in enumerate(_shapes(others)):
        is_title = not named and not number and block.table is None and len(block.text) <= _LONGEST_TITLE
        yield Block(_plain(block.text), level=1) if is_title else block
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None:
        for number, block in enumerate(_paragraphs(frame)):
            yield block if number else Block(f"Notes: {block.text}")


def _shapes(shapes: Any) -> Iterator[Block]:
    """Yield the text of shapes in the order in which they are read aloud, groups opened."""
    from pptx.shapes.group import GroupShape

    for shape in shapes:
        if isinstance(shape, GroupShape):
            yield from _shapes(shape.shapes)
        elif shape.has_text_frame:
            yield from _paragraphs(shape.text_frame)
        elif shape.has_table:
            yield from row_blocks(map(_row, shape.table.rows), shape)


def _paragraphs(frame: Any) -> Iterator[Block]:
    """Yield the paragraphs of a text frame that hold text, as lines that belong together."""
    texts = (paragraph.text for paragraph in frame.paragraphs)
    for number, text in enumerate(text for text in texts if text.strip()):
        yield Block(text, tight=number > 0)


def _row(row: Any) -> list[Cell]:
    """Return the cells of a row; python-pptx lists those that a merged cell covers too."""
    return [Cell("" if cell.is_spanned else cell.text) for cell in row.cells]


def _plain(text: str) -> str:
    return " ".join(text.split())
