"""MARK's decoders under the bench: what they take of memory, and what their formats cost in quality.

Run by `worker.py`.
"""

import gc
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from markgraph.engines.native.load import load_decoder
from markgraph.models.quality import compare_formats
from markgraph.models.quantize import tensor_bytes


def load(folder: str, mode: str, threads: int) -> dict[str, Callable[..., Any]]:
    """Load the model in `folder`, and watch the memory meanwhile."""
    torch.set_num_threads(threads)
    import transformers.modeling_rope_utils  # noqa: F401 -- what loading imports is not the model's

    before = _private_bytes()
    with _Peak() as peak:
        decoder = load_decoder(Path(folder), mode)
    gc.collect()
    footprint = {
        "weights": float(tensor_bytes()),
        "peak": float(peak.bytes - before),
        "after": float(_private_bytes() - before),
    }

    def quality(ids: Sequence[int]) -> dict[int, dict[str, float]]:
        exact = load_decoder(Path(folder), "exact")
        return {width: asdict(found) for width, found in compare_formats(exact, decoder, ids).items()}

    return {"footprint": lambda: footprint, "quality": quality}


def _private_bytes() -> int:
    """Return the resident memory that is no file's: a checkpoint that is mapped doesn't count."""
    with open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


class _Peak:
    """Watches how much memory there is at most while a block runs."""

    def __enter__(self) -> "_Peak":
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.bytes = max(self.bytes, _private_bytes())
