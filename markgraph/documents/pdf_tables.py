"""Finds the ruled tables of a PDF page by the lines that are drawn on it."""

import ctypes
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pypdfium2 import PdfObject, PdfPage

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in points."""
_THIN, _NEAR = 3.0, 3.0
"""Points: what is no thicker is a rule, and rules no further apart meet."""
_MOST_RULES = 3000
"""A page with more is a drawing."""


@dataclass(frozen=True)
class Table:
    """A grid of cells, some of them merged."""

    xs: tuple[float, ...]
    """Where columns begin and end, from the left."""
    ys: tuple[float, ...]
    """Where rows begin and end, from the bottom."""
    rules: tuple[Box, ...]

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return len(self.ys) - 1

    @property
    def columns(self) -> int:
        """Return the number of columns."""
        return len(self.xs) - 1

    def holds(self, box: Box) -> bool:
        """Tell whether the middle of `box` lies within."""
        x, y = _middle(box)
        return self.xs[0] <= x <= self.xs[-1] and self.ys[0] <= y <= self.ys[-1]

    def cell(self, box: Box) -> tuple[int, int]:
        """Return the row, from the top, and the column around the middle of `box`."""
        x, y = _middle(box)
        column = min(bisect_right(self.xs, x), self.columns) - 1
        return self.rows - min(bisect_right(self.ys, y), self.rows), column

    def first_of_merged(self, row: int, column: int) -> tuple[int, int]:
        """Return the first cell of those that are one with a cell, since no rule parts them."""
        below = self.rows - 1 - row
        y = (self.ys[below] + self.ys[below + 1]) / 2
        while column > 0 and not self._is_ruled(self.xs[column], y):
            column -= 1
        x = (self.xs[column] + self.xs[column + 1]) / 2
        while row > 0 and not self._is_ruled(x, self.ys[self.rows - row]):
            row -= 1
        return row, column

    def _is_ruled(self, x: float, y: float) -> bool:
        return any(_meet(rule, (x, y, x, y)) for rule in self.rules)


def read_rules(page: "PdfPage") -> Iterator[Box]:
    """Yield the horizontal and vertical lines drawn on `page`, none where it has too many for a table."""
    import pypdfium2.raw as pdfium

    rules: list[Box] = []
    for path in page.get_objects([pdfium.FPDF_PAGEOBJ_PATH], max_depth=1):
        box = path.get_bounds()
        if min(box[2] - box[0], box[3] - box[1]) <= _THIN:
            rules.append(box)
        elif _is_stroked(path):
            rules += _sides(path)
        if len(rules) > _MOST_RULES:
            return
    yield from rules


def find_tables(rules: Sequence[Box]) -> list[Table]:
    """Return the grids of at least two cells that `rules` make."""
    tables = []
    level = _joined([rule for rule in rules if rule[2] - rule[0] > _THIN])
    upright = [_flip(rule) for rule in _joined([_flip(rule) for rule in rules if rule[3] - rule[1] > _THIN])]
    for group in _groups([*level, *upright]):
        xs = _distinct([(rule[0] + rule[2]) / 2 for rule in group if rule[3] - rule[1] > _THIN])
        ys = _distinct([(rule[1] + rule[3]) / 2 for rule in group if rule[2] - rule[0] > _THIN])
        if len(xs) >= 2 and len(ys) >= 2 and len(xs) + len(ys) >= 5:
            tables.append(Table(xs, ys, tuple(group)))
    return tables


def _is_stroked(path: "PdfObject") -> bool:
    import pypdfium2.raw as pdfium

    fill, stroke = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDFPath_GetDrawMode(path, ctypes.byref(fill), ctypes.byref(stroke))
    return bool(stroke.value)


def _sides(path: "PdfObject") -> Iterator[Box]:
    """Yield the horizontal and vertical lines of one path."""
    import pypdfium2.raw as pdfium

    matrix = path.get_matrix()
    points, starts = [], []
    for index in range(min(pdfium.FPDFPath_CountSegments(path), _MOST_RULES)):
        segment = pdfium.FPDFPath_GetPathSegment(path, index)
        x, y = ctypes.c_float(), ctypes.c_float()
        pdfium.FPDFPathSegment_GetPoint(segment, ctypes.byref(x), ctypes.byref(y))
        points.append(matrix.on_point(x.value, y.value))
        starts.append(pdfium.FPDFPathSegment_GetType(segment) == pdfium.FPDF_SEGMENT_MOVETO)
    for (one, other), begins in zip(pairwise(points), starts[1:], strict=True):
        box = (*map(min, one, other), *map(max, one, other))
        if not begins and min(box[2] - box[0], box[3] - box[1]) < 1:
            yield box


def _joined(rules: Sequence[Box]) -> list[Box]:
    """Return level `rules` with those made one that go on from each other, as borders of cells do."""
    joined: list[Box] = []
    for rule in sorted(rules, key=lambda rule: (round(rule[1]), rule[0])):
        last = joined[-1] if joined else None
        if last and abs(rule[1] - last[1]) < 1 and rule[0] <= last[2] + _NEAR:
            joined[-1] = (last[0], last[1], max(last[2], rule[2]), max(last[3], rule[3]))
        else:
            joined.append(rule)
    return joined


def _flip(rule: Box) -> Box:
    """Return `rule` with its x and y changed for each other."""
    return rule[1], rule[0], rule[3], rule[2]


def _groups(rules: Sequence[Box]) -> list[list[Box]]:
    """Return `rules` by what meets, directly or through others."""
    groups: list[list[Box]] = []
    for rule in rules:
        met = [group for group in groups if any(_meet(rule, other) for other in group)]
        groups = [group for group in groups if not any(group is one for one in met)]
        groups.append([rule, *(other for group in met for other in group)])
    return groups


def _meet(one: Box, other: Box) -> bool:
    return (
        one[0] - _NEAR <= other[2]
        and other[0] - _NEAR <= one[2]
        and one[1] - _NEAR <= other[3]
        and other[1] - _NEAR <= one[3]
    )


def _distinct(places: Sequence[float]) -> tuple[float, ...]:
    """Return `places` in order, of those that are near each other only the first."""
    kept: list[float] = []
    for place in sorted(places):
        if not kept or place - kept[-1] > _NEAR:
            kept.append(place)
    return tuple(kept)


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
