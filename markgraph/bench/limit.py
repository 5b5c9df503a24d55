"""How fast one request can be decoded at most: every weight is read from memory once a token."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

BYTES = {"exact": (4.0, 4.0), "fast": (1.0, 1.0), "small": (0.625, 1.0)}
"""Bytes a weight of the layers, and of the head, by mode: int4 has 2 numbers of 2 bytes for 32 weights."""


@dataclass(frozen=True)
class Limit:
    """What memory allows."""

    weights: float
    """Bytes that are read for a token."""
    bandwidth: float
    """GB/s that the threads together read."""

    @property
    def tokens_per_second(self) -> float:
        """Return the limit for one request, its own keys and values not counted."""
        return self.bandwidth * 1e9 / self.weights

    @property
    def words(self) -> str:
        """Return how it comes about."""
        return f"{self.weights / 1e6:.0f} MB of weights a token, {self.bandwidth:.1f} GB/s"


def measure_limit(folder: Path, mode: str, threads: int) -> Limit:
    """Return the limit for the model in `folder`; takes a second, and wants the machine for itself."""
    from markgraph.models.machine import read_bandwidth

    layers, head = matrix_weights(folder)
    each, of_head = BYTES[mode]
    return Limit(layers * each + head * of_head, read_bandwidth(threads))


def matrix_weights(folder: Path) -> tuple[int, int]:
    """Return how many weights the layers' matrices have, and the head.

    The head is the embedding itself where the checkpoint has no other.
    """
    shapes: dict[str, list[int]] = {}
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as opened:  # 8 bytes of length, then JSON: the format's own header
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        shapes |= {name: each["shape"] for name, each in header.items() if name != "__metadata__"}
    tables = {name: shape for name, shape in shapes.items() if "embed" in name or "lm_head" in name}
    head = next((shape for name, shape in tables.items() if "lm_head" in name), None)
    layers = sum(prod(shape) for name, shape in shapes.items() if name not in tables)
    return layers, prod(head or next(iter(tables.values())))
