"""Draws a training's log: a line for each figure over the steps."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from markgraph.bench.plot import FAINT, INK, MARGIN, PAPER, SCALE, Pen
from markgraph.bench.table import figure
from markgraph.errors import StorageError

WIDTH, HEIGHT, LEFT, BELOW = 640, 300, 72, 40
TRAINED, HELD = "#3b62c4", "#d2553f"
HELD_BACK = "eval_"
"""What begins the name of a figure on rows that are held back."""
UNDRAWN = ("runtime", "per_second", "epoch", "step", "num_", "learning_rate", "total_flos")
"""Parts of the names of figures that say nothing of how well a model learns."""

Line = list[tuple[float, float]]
"""Steps and values."""


def draw_log(log: Path, folder: Path) -> list[Path]:
    """Write a PNG for each figure of a log, that on held-back rows beside it, and return the files.

    Raises:
        StorageError: one can't be written.
    """
    lines = lines_of([json.loads(line) for line in log.read_text("utf-8").splitlines()])
    drawn = []
    for name in dict.fromkeys(name.removeprefix(HELD_BACK) for name in lines):
        place = folder / f"{name.replace('/', '_')}.png"
        draw_lines({each: lines[each] for each in (name, HELD_BACK + name) if each in lines}, place, name)
        drawn.append(place)
    return drawn


def lines_of(log: Sequence[Mapping[str, float]]) -> dict[str, Line]:
    """Return the figures that are worth a picture, by name."""
    lines: dict[str, Line] = {}
    for entry in log:
        for name, value in entry.items():
            if not any(part in name for part in UNDRAWN) and isinstance(value, int | float) and value == value:
                lines.setdefault(name, []).append((entry["step"], float(value)))
    return lines


def draw_lines(lines: Mapping[str, Line], place: Path, title: str) -> None:
    """Write a PNG with some lines over the same steps to `place`.

    Raises:
        StorageError: the file can't be written.
    """
    from PIL import Image, ImageDraw

    size = (LEFT + WIDTH + 2 * MARGIN, HEIGHT + BELOW + 3 * MARGIN)
    image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
    draw = ImageDraw.Draw(image)
    pen = Pen(draw)
    values = [value for line in lines.values() for _, value in line]
    steps = [step for line in lines.values() for step, _ in line]
    frame = _Frame(min(steps), max(steps), min(values), max(values))
    _draw_frame(pen, frame, title)
    for at, (name, line) in enumerate(lines.items()):
        colour = HELD if name.startswith(HELD_BACK) else TRAINED
        points = [tuple(each * SCALE for each in frame.place(*point)) for point in line]
        draw.line(points, fill=colour, width=SCALE)
        for x, y in points:
            draw.ellipse([x - 2 * SCALE, y - 2 * SCALE, x + 2 * SCALE, y + 2 * SCALE], fill=colour)
        pen.text(LEFT + 140 * at, HEIGHT + 2 * MARGIN + BELOW / 2 + 4, name, colour)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        image.save(place)
    except OSError as error:
        raise StorageError(f"Could not write {place}: {error}.") from error


class _Frame:
    """Where steps and values lie in the picture."""

    def __init__(self, first: float, last: float, low: float, high: float) -> None:
        self.first, self.last, self.low, self.high = first, last, low, high

    def place(self, step: float, value: float) -> tuple[float, float]:
        """Return x and y; what does not vary lies in the middle."""
        across = (step - self.first) / (self.last - self.first) if self.last > self.first else 0.5
        up = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return LEFT + across * WIDTH, 2 * MARGIN + (1 - up) * HEIGHT


def _draw_frame(pen: Pen, frame: _Frame, title: str) -> None:
    pen.text(MARGIN, MARGIN / 2, title, INK)
    bottom = 2 * MARGIN + HEIGHT
    pen.box(LEFT - 1, 2 * MARGIN, LEFT, bottom, FAINT)
    pen.box(LEFT, bottom, LEFT + WIDTH, bottom + 1, FAINT)
    for value in dict.fromkeys((frame.high, frame.low)):
        pen.text(MARGIN / 2, frame.place(frame.first, value)[1] - 7, figure(value), FAINT)
    pen.text(LEFT, bottom + 6, f"step {frame.first:g}", FAINT)
    pen.text(LEFT + WIDTH - 60, bottom + 6, f"step {frame.last:g}", FAINT)
