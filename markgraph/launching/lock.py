"""Lets one process at a time work on a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from markgraph.errors import UsageError

TRAINING = "train.lock"
"""What whoever trains holds in a run's folder: a server's process, too."""


@contextmanager
def held(place: Path, run: str) -> Iterator[None]:
    """Hold a lock of a run; a kill lets go of it.

    Raises:
        UsageError: another process has it.
    """
    lock = FileLock(place)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"Another process is at work on run {run!r}. Wait for it.") from error
    try:
        yield
    finally:
        lock.release()
