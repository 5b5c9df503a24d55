"""Runs the first steps of a training, to tell what all of it would take."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import psutil
import torch
from transformers import TrainerCallback

EVERY = 0.02
"""Seconds between two looks at the memory."""


class Steps(TrainerCallback):
    """Stops a training after a few steps, and keeps how long each of them took."""

    def __init__(self, most: int) -> None:
        """Stop after `most` steps."""
        self._most, self._began = most, 0.0
        self.seconds: list[float] = []
        self.total = 0
        """The steps that the whole training has."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Begin to count."""
        self.total = state.max_steps

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Begin to measure."""
        self._began = perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Take the time, and stop behind the last step, without a checkpoint."""
        self.seconds.append(perf_counter() - self._began)
        if len(self.seconds) >= self._most:
            control.should_training_stop, control.should_save, control.should_evaluate = True, False, False


@dataclass
class Peak:
    """The most memory that this process held for a while."""

    bytes: int = 0
    gpu_bytes: int = 0
    done: threading.Event = field(default_factory=threading.Event)


@contextmanager
def measuring_memory() -> Iterator[Peak]:
    """Watch this process's memory; the figures stand at the end."""
    peak, process = Peak(), psutil.Process()
    on_gpu = torch.cuda.is_available()

    def watch() -> None:
        while not peak.done.wait(EVERY):
            peak.bytes = max(peak.bytes, process.memory_info().rss)

    peak.bytes = process.memory_info().rss
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        peak.done.set()
        watcher.join()
        peak.bytes = max(peak.bytes, process.memory_info().rss)
        peak.gpu_bytes = torch.cuda.max_memory_allocated() if on_gpu else 0
