"""Turns the characters of a PDF page into lines, paragraphs, and the rows of ruled tables.

Characters come in the order in which the file draws them, which is nearly always the one they are read in.
Does NOT find tables without rules (their cells are parted by tabs where a row is drawn as one), nor rules
inside form XObjects, and reads no form fields and annotations.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median
from typing import TYPE_CHECKING

from markgraph.documents.pdf_tables import Box, Table, find_tables, read_rules

if TYPE_CHECKING:
    from pypdfium2 import PdfPage, PdfTextPage

_WIDE = 1.5
"""A gap in a line of so many times its height is one between columns."""
_APART = 1.3
"""Lines with so many times the page's usual distance between them are two paragraphs."""
_HYPHENS = frozenset({0x02, 0xAD, 0xFFFE})
"""What PDFium gives for a hyphen at the end of a line."""
_SPACES = {code: "\n" if code == 0x0A else " " for code in (0x09, 0x0A, 0x0D, 0x20, 0xA0)}
_RETURN = 0x0D
_END = 0x110000
_NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)

Glyph = tuple[str, Box]
"""A character and where it is; a space, a line end too, is where the character before it is."""


@dataclass(frozen=True)
class _Line:
    text: str
    box: Box


def page_text(glyphs: Sequence[Glyph], tables: Sequence[Table]) -> str:
    """Return the text of a page: an empty line between paragraphs, a table row as `a | b` on one line."""
    if not tables:
        return _paragraphs(glyphs)
    found: list[tuple[Table | None, list[Glyph]]] = [(None, [])]
    inside: dict[int, list[Glyph]] = {}
    for glyph in glyphs:
        index = next((n for n, table in enumerate(tables) if table.holds(glyph[1])), None)
        if index is None:
            found[-1][1].append(glyph)
        elif index in inside:
            inside[index].append(glyph)
        else:  # the whole table stands where its first character was drawn
            inside[index] = [glyph]
            found += [(tables[index], inside[index]), (None, [])]
    parts = [_rows(table, within) if table else _paragraphs(within) for table, within in found]
    return "\n\n".join(filter(None, parts))


def read_glyphs(page: "PdfPage", text: "PdfTextPage") -> list[Glyph]:
    """Return the characters of `page`, upright as it is shown; what lies outside of it is left out."""
    import pypdfium2.raw as pdfium

    rotation = page.get_rotation()
    left, bottom, right, top = page.get_bbox()
    glyphs: list[Glyph] = []
    shown = _NOWHERE
    rect = pdfium.FS_RECTF()
    place = ctypes.byref(rect)
    handle = text.raw
    code_at, box_at = pdfium.FPDFText_GetUnicode, pdfium.FPDFText_GetLooseCharBox
    for index in range(pdfium.FPDFText_CountChars(handle)):  # millions of times in a large document
        code = code_at(handle, index)
        if code in _SPACES:
            if code != _RETURN:
                glyphs.append((_SPACES[code], shown))
            continue
        box_at(handle, index, place)
        box = (rect.left, rect.bottom, rect.right, rect.top)
        if box[2] < left or box[0] > right or box[3] < bottom or box[1] > top:
            continue
        character = "-" if code in _HYPHENS else chr(code) if code < _END else "\ufffd"
        shown = turn(box, rotation) if rotation else box
        glyphs.append((character, shown))
    return glyphs


def read_tables(page: "PdfPage") -> list[Table]:
    """Return the ruled tables of `page`, in the coordinates of `read_glyphs`."""
    rotation = page.get_rotation()
    return find_tables([turn(rule, rotation) for rule in read_rules(page)])


def turn(box: Box, degrees: int) -> Box:
    """Return where a box lies once the page was turned clockwise."""
    left, bottom, right, top = box
    return {
        0: box,
        90: (bottom, -right, top, -left),
        180: (-right, -top, -left, -bottom),
        270: (-top, left, -bottom, right),
    }[degrees]


def _lines(glyphs: Sequence[Glyph]) -> list[_Line]:
    lines = []
    for is_end, group in groupby(glyphs, key=lambda glyph: glyph[0] == "\n"):
        if not is_end and (line := _line(list(group))):
            lines.append(line)
    return lines


def _line(glyphs: Sequence[Glyph]) -> _Line | None:
    parts: list[str] = []
    last, has_gap = _NOWHERE, False
    for character, box in glyphs:
        if character == " ":
            has_gap = bool(parts)
            continue
        if has_gap:
            parts.append(_space(last, box))
            has_gap = False
        parts.append(character)
        last = box
    if not parts:
        return None
    boxes = [box for character, box in glyphs if character != " "]
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return _Line("".join(parts), (min(lefts), min(bottoms), max(rights), max(tops)))


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
    first_of: dict[tuple[int, int], tuple[int, int]] = {}
    for glyph in glyphs:
        cell = table.cell(glyph[1])
        if cell not in first_of:
            first_of[cell] = table.first_of_merged(*cell)
        cells.setdefault(first_of[cell], []).append(glyph)
    texts = {place: " ".join(line.text for line in _lines(within)) for place, within in cells.items()}
    return "\n".join(
        " | ".join(" ".join(texts.get((row, column), "").split()) for column in range(table.columns))
        for row in range(table.rows)
        if any(texts.get((row, column)) for column in range(table.columns))
    )
