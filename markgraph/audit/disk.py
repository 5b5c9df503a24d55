"""Sees to it that what is on its way to an audit log gets there, and outlives a power failure."""

import atexit
import os
import threading
from collections.abc import Callable

from markgraph.audit.chain import GENESIS, Head
from markgraph.errors import StorageError

LINGER = 0.02
"""Seconds that a record may wait for others, so that one write, and one wait for the disk, do for all."""
RETRY = 1.0
"""Seconds until a disk that failed is tried again."""
SECONDS = 30.0
"""How long a disk may take."""


class Disk:
    """A thread that flushes and syncs, a little after it was told that there is something."""

    def __init__(self, flush: Callable[[], Head], sync: Callable[[Head], None]) -> None:
        """Start the thread.

        Args:
            flush: writes what is on its way, and returns how far the log goes.
            sync: makes everything up to there outlive a power failure.
        """
        self._flush, self._sync = flush, sync
        self._changed = threading.Condition()
        self._told = self._waiting = 0
        self._safe = Head(0, GENESIS)
        self._error: Exception | None = None
        self._closing = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def tell(self) -> None:
        """Say that there is something to be flushed or synced."""
        if not self._told:  # without the lock: whoever sees an old value only tells once more
            with self._changed:
                self._told = 1
                self._changed.notify_all()

    def wait(self, head: Head) -> None:
        """Come back when everything up to `head` is safe.

        Raises:
            OSError: the disk failed, or is too slow.
            StorageError: the keys are gone.
        """
        with self._changed:
            self._told, self._error = 1, None
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._safe >= head or self._error is not None, SECONDS)
            self._waiting -= 1
            if self._safe < head:
                raise self._error or TimeoutError(f"the disk takes longer than {SECONDS:g} s")

    def close(self) -> None:
        """Wait for what is on its way, and end the thread; a forked process has none to end."""
        if self._process != os.getpid():
            return
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(SECONDS)
        atexit.unregister(self.close)

    def _run(self) -> None:
        while self._next():
            error: Exception | None = None
            try:
                head = self._flush()
                self._sync(head)
            except (OSError, StorageError) as failure:
                error = failure
            with self._changed:
                self._error = error
                if error is None:
                    self._safe = head
                else:
                    self._told = 1
                self._changed.notify_all()

    def _next(self) -> bool:
        """Wait until there is something, and a little longer: there may be more; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._told > 0)
            pause = RETRY if self._error else LINGER
            self._changed.wait_for(lambda: self._closing or self._waiting > 0, pause)
            go_on = self._told > 0 and not (self._closing and self._error)
            self._told = 0
            return go_on
