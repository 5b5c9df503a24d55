"""`markgraph graph`: a graph as it is composed."""

from pathlib import Path

from omegaconf import DictConfig

from markgraph.build import build_graph
from markgraph.commands.checks import check_writable


def run(config: DictConfig) -> int:
    """Print the graph as Mermaid, or draw it into `config.png`."""
    place = None if config.png is None else Path(config.png).expanduser()
    if place:
        check_writable("png", place)
    drawn = build_graph(config).get_graph()
    if place is None:
        print(drawn.draw_mermaid())  # noqa: T201
        return 0
    from markgraph.drawing import draw_png

    draw_png(drawn, place)
    print(f"Drawn into {place}.")  # noqa: T201
    return 0
