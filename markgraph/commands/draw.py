"""`markgraph graph`: a graph as it is composed."""

from pathlib import Path

from omegaconf import DictConfig

from markgraph.build import build_graph


def run(config: DictConfig) -> int:
    """Print the graph as Mermaid, or draw it into `config.png`."""
    drawn = build_graph(config).get_graph()
    if config.png is None:
        print(drawn.draw_mermaid())  # noqa: T201
        return 0
    from markgraph.drawing import draw_png

    place = Path(config.png).expanduser()
    draw_png(drawn, place)
    print(f"Drawn into {place}.")  # noqa: T201
    return 0
