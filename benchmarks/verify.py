"""Prints how long it takes to verify a graph, and what part that is of building it.

python benchmarks/verify.py
"""

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

from markgraph.build import build_graph, compose
from markgraph.verification.verify import verify

TIMES = 30


def milliseconds(act: Callable[[], object]) -> float:
    """Return the median time of an act."""
    spent = []
    for _ in range(TIMES):
        began = perf_counter()
        act()
        spent.append((perf_counter() - began) * 1000)
    return median(spent)


def main() -> None:
    """Measure each graph that ships."""
    for name in ("qa", "agent", "ingest"):
        config = compose("verify", [f"graph={name}", "path=.", "model=fake", "embedder=hash", "rerank=full"])
        graph = build_graph(config)
        building = milliseconds(partial(build_graph, config))
        verifying = milliseconds(partial(verify, graph))
        share = f"{verifying / building:.1%}"
        print(f"{name}: built in {building:.1f} ms, verified in {verifying:.2f} ms ({share})")


if __name__ == "__main__":
    main()
