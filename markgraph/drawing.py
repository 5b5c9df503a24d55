"""Draws a graph into a picture, without a browser or a server.

Left out: labels of edges; the names of the nodes say enough.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import dist, hypot
from pathlib import Path
from typing import Any

from langchain_core.runnables.graph import Graph

from markgraph.errors import MissingExtraError, StorageError, UsageError

SCALE = 2
"""Pixels a layout unit, so that text is sharp on dense screens."""
SMOOTH = 2
"""Pixels that become one: Pillow draws lines without smoothing their edges."""
FONT, PADDING, MARGIN = 13, 10, 24
BETWEEN, BELOW = 30, 44
"""Room beside a box, and below a layer."""
PORT = 18
"""Distance of two edges that leave or enter a box side by side."""
LOOP = 22
"""How far an edge from a node to itself reaches out."""
DASH, HEAD = 5, 8
INK, PAPER, FILL, FAINT = "#1f2430", "#ffffff", "#e8eefc", "#6b7488"

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Line:
    """An edge as a row of points, from the border of `source` to the border of `target`."""

    source: str
    target: str
    conditional: bool
    points: list[Point]


@dataclass(frozen=True)
class Drawing:
    """Where everything goes, in layout units from the top left."""

    width: float
    height: float
    boxes: dict[str, Box]
    lines: list[Line]


def draw_png(graph: Graph, place: Path) -> None:
    """Draw `graph` in layers, conditional edges dashed, and write a PNG to `place`.

    Raises:
        UsageError: `place` does not end in .png.
        MissingExtraError: grandalf or Pillow is not installed.
        StorageError: the file can't be written.
    """
    if place.suffix.lower() != ".png":
        raise UsageError(f"A picture is a .png file; got png={place}.")
    try:
        import grandalf  # noqa: F401
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingExtraError(
            "Drawing needs Pillow and grandalf: pip install 'markgraph[draw]'."
        ) from error

    measure = ImageFont.load_default(FONT).getlength
    drawing = lay_out(graph, lambda name: measure(label(name)))
    size = (round(drawing.width * SCALE), round(drawing.height * SCALE))
    image = Image.new("RGB", (size[0] * SMOOTH, size[1] * SMOOTH), PAPER)
    _paint(ImageDraw.Draw(image), drawing, SCALE * SMOOTH, ImageFont.load_default(FONT * SCALE * SMOOTH))
    try:
        image.resize(size, Image.Resampling.BOX).save(place)
    except OSError as error:
        raise StorageError(f"Could not write {place}: {error}.") from error


def label(name: str) -> str:
    """Return the name of a node as people read it."""
    return name.strip("_").replace("_", " ")


def lay_out(graph: Graph, width_of: Callable[[str], float]) -> Drawing:
    """Place `graph` in layers from top to bottom, given the width of each node's label.

    Layout: Sugiyama, Tagawa & Toda 1981, by grandalf. A line runs straight through a layer, in a column of
    its own, and bends between layers only; so it never crosses a box.
    """
    views, edges = _layers(graph, width_of)
    boxes = {name: view.box() for name, view in views.items()}
    lines = [
        Line(edge.source, edge.target, edge.conditional, points)
        for edge, points in zip(graph.edges, _routes(edges, boxes), strict=True)
    ]
    every = [*(box[:2] for box in boxes.values()), *(box[2:] for box in boxes.values())]
    every += [point for line in lines for point in line.points]
    left, top = min(x for x, _ in every) - MARGIN, min(y for _, y in every) - MARGIN
    return Drawing(
        width=max(x for x, _ in every) + MARGIN - left,
        height=max(y for _, y in every) + MARGIN - top,
        boxes={name: (x0 - left, y0 - top, x1 - left, y1 - top) for name, (x0, y0, x1, y1) in boxes.items()},
        lines=[
            Line(line.source, line.target, line.conditional, [(x - left, y - top) for x, y in line.points])
            for line in lines
        ],
    )


class _View:
    """What grandalf wants to know of a node: its size; it fills in where the middle goes."""

    def __init__(self, width: float, room: float) -> None:
        self.w, self.h = width + room, FONT + 2.0 * PADDING
        self.xy: Point = (0.0, 0.0)
        self._width = width

    def box(self) -> Box:
        """Return the box, without the room beside it."""
        x, y = self.xy
        return x - self._width / 2, y - self.h / 2, x + self._width / 2, y + self.h / 2


class _Edge:
    """An edge, and the points that grandalf gives it: middles of boxes and of layers that it passes."""

    def __init__(self, source: str, target: str) -> None:
        self.source, self.target = source, target
        self.bends: list[Point] = []

    def setpath(self, points: list[Point]) -> None:
        """Take the points from grandalf."""
        self.bends = points[1:-1]


def _layers(graph: Graph, width_of: Callable[[str], float]) -> tuple[dict[str, _View], list[_Edge]]:
    from grandalf.graphs import Edge, Vertex
    from grandalf.graphs import Graph as Components
    from grandalf.layouts import SugiyamaLayout

    loops = {edge.source for edge in graph.edges if edge.source == edge.target}
    views = {
        name: _View(width_of(name) + 2 * PADDING, room=2 * LOOP * (name in loops)) for name in graph.nodes
    }
    vertices = {name: Vertex(name) for name in graph.nodes}
    for name, vertex in vertices.items():
        vertex.view = views[name]
    edges = [_Edge(edge.source, edge.target) for edge in graph.edges]
    wires = []
    for edge in edges:
        if edge.source != edge.target:
            wires.append(Edge(vertices[edge.source], vertices[edge.target]))
            wires[-1].view = edge
    components = Components(list(vertices.values()), wires)
    while len(components.C) > 1:  # nodes that only a Command goes to: an unseen wire ties them in
        components.add_edge(Edge(components.C[0].sV[0], components.C[1].sV[0]))
    layout = SugiyamaLayout(components.C[0])
    layout.xspace, layout.yspace = BETWEEN, BELOW
    layout.init_all(roots=[vertices["__start__"]])
    layout.draw(4)
    return views, edges


def _routes(edges: Sequence[_Edge], boxes: dict[str, Box]) -> Iterator[list[Point]]:
    """Yield the points of each edge; edges side by side at a box keep a distance."""
    ports = _ports(edges, boxes)
    for edge in edges:
        if edge.source == edge.target:
            yield _loop(boxes[edge.source])
            continue
        begin, end = ports[edge, edge.source], ports[edge, edge.target]
        half = (FONT / 2 + PADDING) * (1 if begin[1] < end[1] else -1)
        corners = [begin]
        for x, y in edge.bends:
            corners += [(x, y - half), (x, y + half)]
        corners.append(end)
        points = [begin]
        for at, (one, other) in enumerate(pairwise(corners)):
            points += [other] if at % 2 else _curve(one, other)
        yield points


def _ports(edges: Sequence[_Edge], boxes: dict[str, Box]) -> dict[tuple[_Edge, str], Point]:
    """Return where each edge leaves its source and enters its target."""
    middle = {name: ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for name, box in boxes.items()}
    sides: dict[tuple[str, bool], list[tuple[float, bool, _Edge]]] = {}
    for edge in edges:
        if edge.source == edge.target:
            continue
        down = middle[edge.source][1] < middle[edge.target][1]
        path = [middle[edge.source], *edge.bends, middle[edge.target]]
        sides.setdefault((edge.source, down), []).append((path[1][0], not down, edge))
        sides.setdefault((edge.target, not down), []).append((path[-2][0], not down, edge))
    ports = {}
    for (name, below), there in sides.items():
        left, top, right, bottom = boxes[name]
        apart = min(PORT, (right - left) / (len(there) + 1))
        for at, (_, _, edge) in enumerate(sorted(there, key=lambda each: each[:2])):
            x = middle[name][0] + (at - (len(there) - 1) / 2) * apart
            ports[edge, name] = (x, bottom if below else top)
    return ports


def _curve(begin: Point, end: Point) -> list[Point]:
    """Return the points, without the first, of a curve that begins and ends vertically."""
    halfway = (begin[1] + end[1]) / 2
    return _bezier(begin, (begin[0], halfway), (end[0], halfway), end)


def _loop(box: Box) -> list[Point]:
    """Return an arc from the right border of a box back to it."""
    _, top, right, bottom = box
    begin, end = (right, top + PADDING), (right, bottom - PADDING)
    out = right + LOOP * 4 / 3
    return [begin, *_bezier(begin, (out, begin[1] - PADDING), (out, end[1] + PADDING), end)]


def _bezier(a: Point, b: Point, c: Point, d: Point, steps: int = 24) -> list[Point]:
    def at(t: float, axis: int) -> float:
        s = 1 - t
        return s**3 * a[axis] + 3 * s * s * t * b[axis] + 3 * s * t * t * c[axis] + t**3 * d[axis]

    return [(at(step / steps, 0), at(step / steps, 1)) for step in range(1, steps + 1)]


def _paint(pen: Any, drawing: Drawing, scale: int, font: Any) -> None:
    for line in drawing.lines:
        _paint_line(pen, [(x * scale, y * scale) for x, y in line.points], line.conditional, scale)
    for name, box in drawing.boxes.items():
        left, top, right, bottom = (edge * scale for edge in box)
        end = name in ("__start__", "__end__")
        radius = (bottom - top) / 2 if end else 6 * scale
        place = (left, top, right, bottom)
        pen.rounded_rectangle(place, radius, fill=PAPER if end else FILL, outline=INK, width=scale)
        pen.text(((left + right) / 2, (top + bottom) / 2), label(name), font=font, fill=INK, anchor="mm")


def _paint_line(pen: Any, points: list[Point], dashed: bool, scale: int) -> None:
    shaft, tip = _without_head(points, HEAD * scale), points[-1]
    for piece in _dashes(shaft, DASH * scale) if dashed else [shaft]:
        pen.line(piece, fill=FAINT, width=round(1.4 * scale), joint="curve")
    (x0, y0), (x1, y1) = shaft[-1], tip
    length = max(hypot(x1 - x0, y1 - y0), 1.0)
    ux, uy = (x1 - x0) / length * HEAD * scale, (y1 - y0) / length * HEAD * scale
    side = (-uy * 0.45, ux * 0.45)
    foot = (x1 - ux, y1 - uy)
    corners = [tip, (foot[0] + side[0], foot[1] + side[1]), (foot[0] - side[0], foot[1] - side[1])]
    pen.polygon(corners, fill=FAINT)


def _without_head(points: list[Point], length: float) -> list[Point]:
    """Return `points` without the last `length` of the way."""
    kept = list(points)
    while len(kept) > 2 and dist(kept[-2], points[-1]) < length:
        kept.pop()
    return [*kept[:-1], _between(kept[-2], points[-1], 1 - length / dist(kept[-2], points[-1]))]


def _dashes(points: list[Point], length: float) -> list[list[Point]]:
    """Return every other piece of `length` along the way."""
    pieces: list[list[Point]] = [[points[0]]]
    left = length
    for begin, end in pairwise(points):
        here = begin
        while (way := dist(here, end)) > left:
            here = _between(here, end, left / way)
            pieces[-1].append(here)
            pieces.append([here])
            left = length
        pieces[-1].append(end)
        left -= way
    return [piece for piece in pieces[::2] if len(piece) > 1]


def _between(begin: Point, end: Point, share: float) -> Point:
    return begin[0] + (end[0] - begin[0]) * share, begin[1] + (end[1] - begin[1]) * share
