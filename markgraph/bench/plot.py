"""Draws how MARK stands to its rivals: a bar for each ratio, a tick where it has to be.

Left out: rows without a ratio.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markgraph.bench.table import Row, figure
from markgraph.errors import MissingExtraError, StorageError, UsageError

SCALE = 2
"""Pixels a unit, so that text is sharp on dense screens."""
FONT, LINE, BAR, MARGIN = 13, 46, 16, 24
TEXT, CHART = 560, 420
"""Width of the text on the left, and of the longest bar."""
INK, PAPER, FAINT = "#1f2430", "#ffffff", "#6b7488"
COLOURS = {True: "#2f9e6e", False: "#d2553f", None: "#7a94d8"}


def check_plot(place: Path) -> None:
    """Refuse, before anything is measured, what can't be drawn later.

    Raises:
        UsageError: `place` does not end in .png.
        MissingExtraError: Pillow is not installed.
    """
    if place.suffix.lower() != ".png":
        raise UsageError(f"A plot is a .png file; got plot={place}.")
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("A plot needs Pillow: pip install 'markgraph[draw]'.") from error


def draw_plot(rows: Sequence[Row], place: Path, title: str) -> None:
    """Draw the ratios of `rows` as bars, and write a PNG to `place`.

    Raises:
        StorageError: the file can't be written.
    """
    from PIL import Image, ImageDraw

    compared = [row for row in rows if row.ratio is not None]
    size = (TEXT + CHART + 4 * MARGIN, LINE * (len(compared) + 1) + 2 * MARGIN)
    image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
    pen = Pen(ImageDraw.Draw(image))
    pen.text(MARGIN, MARGIN, title, INK)
    longest = max((max(row.ratio or 0, _target(row) or 0) for row in compared), default=1)
    for at, row in enumerate(compared):
        _draw_row(pen, row, MARGIN + LINE * (at + 1), CHART / longest)
    try:
        image.save(place)
    except OSError as error:
        raise StorageError(f"Could not write {place}: {error}.") from error


def _draw_row(pen: "Pen", row: Row, top: float, unit: float) -> None:
    ratio, target, left = row.ratio or 0.0, _target(row), TEXT + MARGIN
    pen.text(MARGIN, top, row.what, INK)
    pen.text(MARGIN, top + FONT + 5, f"against {row.rival}", FAINT)
    pen.box(left, top + 4, left + ratio * unit, top + 4 + BAR, COLOURS[row.ok])
    pen.text(left + ratio * unit + 6, top + 4, figure(ratio), INK)
    if target is not None:
        pen.box(left + target * unit - 1, top, left + target * unit + 1, top + 8 + BAR, INK)
        pen.text(left, top + BAR + 8, f"{row.target}", FAINT)


def _target(row: Row) -> float | None:
    return float(row.target.split()[1]) if row.target else None


class Pen:
    """Draws in units, whatever the scale."""

    def __init__(self, draw: Any) -> None:
        from PIL import ImageFont

        self._draw, self._font = draw, ImageFont.load_default(FONT * SCALE)

    def text(self, x: float, y: float, text: str, colour: str) -> None:
        self._draw.text((x * SCALE, y * SCALE), text, fill=colour, font=self._font)

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        self._draw.rectangle([each * SCALE for each in (left, top, right, bottom)], fill=colour)
