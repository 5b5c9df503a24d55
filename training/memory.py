"""Keeps a training within the memory that there is: beyond it, the system ends processes without a word."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from markgraph.errors import UsageError
from markgraph.models.machine import memory
from markgraph.training.pipeline import TRAIN
from markgraph.training.port import Method

_GIB = 2**30
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "can't start new thread",
)
"""What the errors of PyTorch, CUDA, C++ and Python say."""

_ALONE = threading.Lock()
"""The limit is the process's; of several trainings in one, the first sets it."""


@contextmanager
def within_memory(stage: str, method: Method) -> Iterator[None]:
    """Let this process take the memory that is left now, and no more, where the system can see to that.

    That is so for the main memory on Linux. A GPU's has its limit already.

    Raises:
        UsageError: that was not enough.
    """
    try:
        with _limited() as room:
            yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in _SIGNS):
            raise
        raise UsageError(
            f"Stage {stage} takes more memory than the {room / _GIB:.1f} GiB that are left here. "
            f"{_advice(stage, method)} `markgraph doctor` says what this machine has."
        ) from error


def _advice(stage: str, method: Method) -> str:
    where = "method" if stage == TRAIN else f"pipeline.{stage}.method"
    size, parts = getattr(method, "batch_size", 1), getattr(method, "accumulation", None)
    smaller = f"lower {where}.max_tokens, or set {where}.gradient_checkpointing=true."
    if size == 1 or parts is None:
        return f"Free some, {smaller}"
    halves = f"{where}.batch_size={size // 2} {where}.accumulation={parts * 2}"
    return f"Free some, set {halves} (steps as before, in halves), {smaller}"


@contextmanager
def _limited() -> Iterator[int]:
    """Let allocations fail that go beyond what is left, and say how much that is."""
    taken, room = _taken(), memory().room
    if torch.cuda.is_available():  # CUDA reserves addresses that it never uses
        yield torch.cuda.mem_get_info()[0]
    elif taken is None or not _ALONE.acquire(blocking=False):  # another training has set the limit
        yield room
    else:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = min(limit for limit in (taken + room, soft, hard) if limit != resource.RLIM_INFINITY)
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
            yield most - taken
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
            _ALONE.release()


def _taken() -> int | None:
    """Return how many bytes count against the limit by now; None where no system counts them."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text("utf-8").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return None
