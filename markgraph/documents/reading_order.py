"""Puts lines of text that were found on a page into the order in which they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

_PROSE = 8
"""Lines so many times wider than high are a column of text; narrower ones the cells of a table."""


@dataclass(frozen=True)
class TextBox:
    """A line of text and where it is, in pixels from the left and top."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


def reading_order(boxes: Sequence[TextBox]) -> list[str]:
    """Return the lines, those of a column before those of the next; what stands side by side becomes one."""
    for side in (_columns(boxes), _halves(boxes)):
        if side is not None:
            first, second = side
            return reading_order(first) + reading_order(second)
    return _rows(boxes)


def _columns(boxes: Sequence[TextBox]) -> tuple[list[TextBox], list[TextBox]] | None:
    """Split at the widest gap from top to bottom that has columns of text on both sides."""
    height = _height(boxes)
    edge, cut, widest = float("-inf"), 0.0, 0.5 * height
    for box in sorted(boxes, key=lambda box: box.left):
        if edge > float("-inf") and box.left - edge > widest:
            cut, widest = box.left, box.left - edge
        edge = max(edge, box.right)
    sides = [box for box in boxes if box.left < cut], [box for box in boxes if box.left >= cut]
    is_prose = all(side and median(box.right - box.left for box in side) > _PROSE * height for side in sides)
    return sides if is_prose else None


def _halves(boxes: Sequence[TextBox]) -> tuple[list[TextBox], list[TextBox]] | None:
    """Split at the highest gap from left to right, so that what spans columns is parted from them."""
    edge, cut, highest = float("-inf"), None, 0.5 * _height(boxes)
    for box in sorted(boxes, key=lambda box: box.top):
        if edge > float("-inf") and box.top - edge > highest:
            cut, highest = box.top, box.top - edge
        edge = max(edge, box.bottom)
    if cut is None:
        return None
    return [box for box in boxes if box.top < cut], [box for box in boxes if box.top >= cut]


def _rows(boxes: Sequence[TextBox]) -> list[str]:
    rows: list[list[TextBox]] = []
    for box in sorted(boxes, key=lambda box: box.top + box.bottom):
        middle = (box.top + box.bottom) / 2
        if rows and rows[-1][0].top < middle < rows[-1][0].bottom:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [" ".join(box.text for box in sorted(row, key=lambda box: box.left)) for row in rows]


def _height(boxes: Sequence[TextBox]) -> float:
    return median([box.bottom - box.top for box in boxes] or [0])
