"""Draws nDCG@10 of each retriever: a bar, and a line over where 95 % of resampled means lie."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markgraph.bench.plot import INK, MARGIN, PAPER, SCALE, Pen
from markgraph.errors import StorageError

LEFT, CHART, LINE, BAR = 220, 560, 40, 18
COLOUR, BEST = "#7a94d8", "#2f9e6e"


def draw_retrieval(rows: Sequence[Mapping[str, Any]], place: Path, title: str) -> None:
    """Write a PNG to `place`; the best retriever has a colour of its own.

    Raises:
        StorageError: the file can't be written.
    """
    from PIL import Image, ImageDraw

    size = (LEFT + CHART + 6 * MARGIN, LINE * (len(rows) + 1) + 2 * MARGIN)
    image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
    pen = Pen(ImageDraw.Draw(image))
    pen.text(MARGIN, MARGIN, title, INK)
    best = max(row["ndcg@10"] for row in rows)
    for at, row in enumerate(rows, start=1):
        _draw(pen, row, MARGIN + LINE * at, BEST if row["ndcg@10"] == best else COLOUR)
    try:
        image.save(place)
    except OSError as error:
        raise StorageError(f"Could not write {place}: {error}.") from error


def _draw(pen: Pen, row: Mapping[str, Any], top: float, colour: str) -> None:
    value, (low, high), middle = row["ndcg@10"], row["intervals"]["ndcg@10"], top + BAR / 2
    pen.text(MARGIN, top, row["retriever"], INK)
    pen.box(LEFT, top, LEFT + value * CHART, top + BAR, colour)
    pen.box(LEFT + low * CHART, middle - 1, LEFT + high * CHART, middle + 1, INK)
    pen.text(LEFT + high * CHART + 8, top, f"{value:.3f}", INK)
