"""Pictures of graphs: readable, and written where they were asked for."""

import os
import struct
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from langchain_core.runnables.graph import Graph

from markgraph.build import build_graph, compose, load_graph
from markgraph.cli import run
from markgraph.drawing import Box, Drawing, Point, draw_png, label, lay_out
from markgraph.errors import StorageError, UsageError

NO_WEIGHTS = ["model=fake", "embedder=hash"]
GRAPHS = sorted(file.stem for file in (Path(__file__).parents[1] / "conf" / "graph").glob("*.yaml"))
SNAPSHOTS = Path(__file__).parent / "snapshots"
PICTURES: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in GRAPHS},
    "qa_with_rerank": ("qa", "rerank=diverse"),
    "qa_without_route_and_compress": ("qa", "graph.route=null", "graph.compress=null"),
}
CHARACTER = 7
"""Layout units, about, that a character is wide."""


def graph(name: str, *overrides: str) -> Graph:
    """Return a graph of the library as it is drawn."""
    if name == "ingest":
        return build_graph(compose("ingest", ["path=.", "embedder=hash", *overrides])).get_graph()
    models = ["embedder=hash"] if name == "train" else NO_WEIGHTS  # which is trained has to have weights
    return load_graph(name, [*models, *overrides]).get_graph()


@pytest.mark.parametrize("name", PICTURES)
def test_graph_looks_like_its_snapshot(name: str) -> None:
    drawing = graph(*PICTURES[name]).draw_mermaid()
    snapshot = SNAPSHOTS / f"{name}.mmd"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        snapshot.write_text(drawing, "utf-8")
    assert drawing == snapshot.read_text("utf-8"), "UPDATE_SNAPSHOTS=1 accepts the new picture"


def test_no_snapshot_is_left_over() -> None:
    assert {file.stem for file in SNAPSHOTS.glob("*.mmd")} == set(PICTURES)


def drawn(source: Graph) -> Drawing:
    """Lay a graph out with letters of one width."""
    return lay_out(source, lambda name: CHARACTER * len(label(name)))


def with_edges(*edges: tuple[str, str]) -> Graph:
    """Return a graph of nothing but names."""
    made = Graph()
    for name in dict.fromkeys(["__start__", *(name for edge in edges for name in edge)]):
        made.add_node(lambda: None, name)  # type: ignore[arg-type]
    for source, target in edges:
        made.add_edge(made.nodes[source], made.nodes[target])
    return made


def on_the_way(points: list[Point]) -> Iterator[Point]:
    """Yield points close to each other along a line."""
    for (x0, y0), (x1, y1) in pairwise(points):
        for step in range(11):
            yield x0 + (x1 - x0) * step / 10, y0 + (y1 - y0) * step / 10


def lies_in(point: Point, box: Box, margin: float = 1.0) -> bool:
    """Tell whether a point is inside a box, further from its border than `margin`."""
    return box[0] + margin < point[0] < box[2] - margin and box[1] + margin < point[1] < box[3] - margin


@pytest.mark.parametrize("name", GRAPHS)
def test_no_line_crosses_a_box(name: str) -> None:
    drawing = drawn(graph(name))
    for line in drawing.lines:
        for point in on_the_way(line.points):
            assert not [each for each, box in drawing.boxes.items() if lies_in(point, box)], line


@pytest.mark.parametrize("name", GRAPHS)
def test_boxes_lie_apart_and_within_the_picture(name: str) -> None:
    drawing = drawn(graph(name))
    for one, other in combinations(drawing.boxes.values(), 2):
        apart = one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
        assert apart, (one, other)
    page = (0.0, 0.0, drawing.width, drawing.height)
    corners = [point for box in drawing.boxes.values() for point in (box[:2], box[2:])]
    assert all(
        lies_in(point, page) for point in [*corners, *(p for line in drawing.lines for p in line.points)]
    )


def test_every_edge_is_a_line_from_its_source_to_its_target() -> None:
    source = graph("agent")
    drawing = drawn(source)
    assert [(line.source, line.target, line.conditional) for line in drawing.lines] == [
        (edge.source, edge.target, edge.conditional) for edge in source.edges
    ]
    for line in drawing.lines:
        assert lies_in(line.points[0], drawing.boxes[line.source], margin=-1)
        assert lies_in(line.points[-1], drawing.boxes[line.target], margin=-1)


def test_a_way_back_is_a_line_of_its_own() -> None:
    lines = {(line.source, line.target): line.points for line in drawn(graph("qa")).lines}
    there, back = lines["generate", "validate"], lines["validate", "generate"]
    assert abs(there[0][0] - back[-1][0]) > 10
    assert there[-1][1] > there[0][1]
    assert back[-1][1] < back[0][1]


def test_a_node_that_follows_itself_has_a_loop_beside_it() -> None:
    drawing = drawn(graph("ingest"))
    (loop,) = [line for line in drawing.lines if line.source == line.target]
    assert max(x for x, _ in loop.points) > drawing.boxes["index_documents"][2] + 10


def test_nodes_that_no_edge_leads_to_are_drawn_too() -> None:
    drawing = drawn(with_edges(("__start__", "a"), ("b", "c"), ("c", "b"), ("d", "d")))
    assert drawing.boxes.keys() == {"__start__", "a", "b", "c", "d"}
    assert len(set(drawing.boxes.values())) == 5
    assert len(drawing.lines) == 4


@pytest.mark.parametrize("name", GRAPHS)
def test_writes_a_png_of_a_sensible_size(name: str, tmp_path: Path) -> None:
    place = tmp_path / f"{name}.PNG"
    draw_png(graph(name), place)
    content = place.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert 300 < width < 2000
    assert 500 < height < 4000
    assert len(content) > 5000


def test_the_command_draws_into_the_file_it_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "qa.png"
    assert run(["graph", "qa", *NO_WEIGHTS, f"png={place}"]) == 0
    assert run(["graph", "qa", *NO_WEIGHTS, f"png={place.parent}/nowhere/qa.png"]) == 2
    assert capsys.readouterr().out == f"Drawn into {place}.\n"
    assert place.stat().st_size > 5000


def test_refuses_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"A picture is a \.png file; got png=.*qa\.svg"):
        draw_png(graph("qa"), tmp_path / "qa.svg")


def test_says_which_file_it_could_not_write(tmp_path: Path) -> None:
    place = tmp_path / "nowhere" / "qa.png"
    with pytest.raises(StorageError, match=r"Could not write .*nowhere/qa\.png: .*No such file"):
        draw_png(graph("qa"), place)
