"""Lets one writer at a time into a collection."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

from markgraph.retrieval.storage import storage_errors

_HELD: ContextVar[frozenset[Path]] = ContextVar("collections held by whoever runs this", default=frozenset())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a collection's folder; others wait, threads and processes. A kill opens the lock.

    What runs within, in this thread or in others with its context, may hold it again.
    """
    folder = folder.expanduser().resolve()
    if folder in _HELD.get():
        yield
        return
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "ingest.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print("Another ingestion of this collection is running; waiting for it.", file=sys.stderr)  # noqa: T201
            lock.acquire()
    token = _HELD.set(_HELD.get() | {folder})
    try:
        yield
    finally:
        _HELD.reset(token)
        lock.release()
