"""Turns the characters of a PDF page into lines, paragraphs, and the rows of ruled tables.

Characters come in the order in which the file draws them, which is nearly always the one they are read in.
Does NOT find tables without rules (their cells are parted by tabs where a row is drawn as one), nor rules
inside form XObjects, and reads no form fields and annotations.
"""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from markgraph.documents.pdf_tables import Box, Table

if TYPE_CHECKING:
    from pypdfium2 import PdfPage, PdfTextPage

_WIDE = 1.5
"""A gap in a line of so many times its height is one between columns."""
_APART = 1.3
"""Lines with so many times the page's usual distance between them are two paragraphs."""
_HYPHENS = frozenset({"\x02", "\xad", "\ufffe"})
"""What PDFium gives for a hyphen at the end of a line."""

Glyph = tuple[str, Box]


@dataclass
class _Line:
    text: str = ""
    box: Box = (0.0, 0.0, 0.0, 0.0)
    _last: Box = field(default=(0.0, 0.0, 0.0, 0.0))
    _gap: bool = False

    def add(self, character: str, box: Box) -> None:
        if character.isspace():
            self._gap = bool(self.text)
            return
        if not self.text:
            self.box = box
        elif self._gap:
            self.text += _space(self._last, box)
        self.text += character
        self.box = (*map(min, self.box[:2], box[:2]), *map(max, self.box[2:], box[2:]))  # type: ignore[assignment]
        self._last, self._gap = box, False


def page_text(glyphs: Sequence[Glyph], tables: Sequence[Table]) -> str:
    """Return the text of a page: an empty line between paragraphs, a table row as `a | b` on one line."""
    parts: list[str] = []
    loose: list[Glyph] = []
    seen: set[int] = set()
    for glyph in glyphs:
        index = next((n for n, table in enumerate(tables) if table.holds(glyph[1])), None)
        if index is None or glyph[0] == "\n":
            loose.append(glyph)
        elif index not in seen:
            seen.add(index)
            parts += [_paragraphs(loose), _rows(tables[index], glyphs)]
            loose = []
    parts.append(_paragraphs(loose))
    return "\n\n".join(part for part in parts if part)


def read_glyphs(page: "PdfPage", text: "PdfTextPage") -> Iterator[Glyph]:
    """Yield the characters of `page`, upright as it is shown; what lies outside of it is left out."""
    import pypdfium2.raw as pdfium

    shown = _turn(page.get_bbox(), page)
    rect = pdfium.FS_RECTF()
    for index in range(pdfium.FPDFText_CountChars(text)):
        code = pdfium.FPDFText_GetUnicode(text, index)
        character = chr(code) if code < 0x110000 else "\ufffd"
        if character == "\r":
            continue
        pdfium.FPDFText_GetLooseCharBox(text, index, ctypes.byref(rect))
        box = _turn((rect.left, rect.bottom, rect.right, rect.top), page)
        outside = box[2] < shown[0] or box[0] > shown[2] or box[3] < shown[1] or box[1] > shown[3]
        if not outside or character.isspace():
            yield ("-" if character in _HYPHENS else character), box


def read_tables(page: "PdfPage") -> list[Table]:
    """Return the ruled tables of `page`, in the coordinates of `read_glyphs`."""
    from markgraph.documents.pdf_tables import find_tables, read_rules

    return find_tables([_turn(rule, page) for rule in read_rules(page)])


def _turn(box: Box, page: "PdfPage") -> Box:
    """Return where `box` of the page's own coordinates is shown."""
    left, bottom, right, top = box
    return {
        0: box,
        90: (bottom, -right, top, -left),
        180: (-right, -top, -left, -bottom),
        270: (-top, left, -bottom, right),
    }[page.get_rotation()]


def _lines(glyphs: Sequence[Glyph]) -> list[_Line]:
    lines = [_Line()]
    for character, box in glyphs:
        if character == "\n":
            lines.append(_Line())
        else:
            lines[-1].add(character, box)
    return [line for line in lines if line.text]


def _paragraphs(glyphs: Sequence[Glyph]) -> str:
    lines = _lines(glyphs)
    drops = [above.box[1] - line.box[1] for above, line in pairwise(lines)]
    usual = median([drop for drop in drops if drop > 1] or [0])
    text = lines[0].text if lines else ""
    for (above, line), drop in zip(pairwise(lines), drops, strict=True):
        height = line.box[3] - line.box[1]
        if abs(drop) < height / 2 and line.box[0] >= above.box[2]:
            text += _space(above.box, line.box)
        else:
            text += "\n" if 0 <= drop <= usual * _APART else "\n\n"
        text += line.text
    return text


def _space(left: Box, right: Box) -> str:
    return "\t" if right[0] - left[2] > _WIDE * (right[3] - right[1]) else " "


def _rows(table: Table, glyphs: Sequence[Glyph]) -> str:
    """Return a table as `a | b` lines; a cell's own lines stand in one."""
    cells: dict[tuple[int, int], list[Glyph]] = {}
    for glyph in glyphs:
        if table.holds(glyph[1]):
            cells.setdefault(table.cell(glyph[1]), []).append(glyph)
    texts = {place: " ".join(line.text for line in _lines(inside)) for place, inside in cells.items()}
    return "\n".join(
        " | ".join(" ".join(texts.get((row, column), "").split()) for column in range(table.columns))
        for row in range(table.rows)
        if any((row, column) in texts for column in range(table.columns))
    )
