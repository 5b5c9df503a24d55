"""Keeps progress bars of libraries to terminals."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOBase
from typing import TextIO, cast


class _Nowhere(TextIOBase):
    """Takes what is written, and keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


_NOWHERE = cast(TextIO, _Nowhere())
_LOCK = threading.Lock()
_users: list[TextIO] = []
"""What stderr was for each thread that hides bars: the first one took it away."""


@contextmanager
def bars_for_people() -> Iterator[None]:
    """Let transformers draw its progress bars on a terminal, and nowhere else.

    Of several threads the last one gives stderr back, unless somebody has put another in its place meanwhile.
    """
    with _LOCK:
        _users.append(sys.stderr)
        if sys.stderr and not sys.stderr.closed and not sys.stderr.isatty():
            sys.stderr = _NOWHERE
    try:
        yield
    finally:
        with _LOCK:
            first = _users[0]
            _users.pop()
            if not _users and sys.stderr is _NOWHERE:
                sys.stderr = first
