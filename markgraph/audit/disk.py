"""Sees to it that what was written to an audit log outlives a power failure."""

import atexit
import threading

from markgraph.audit.chain import GENESIS, Chain, Head
from markgraph.errors import StorageError

LINGER = 0.005
"""Seconds that a record may wait for others, so that one wait for the disk is enough for all."""
RETRY = 1.0
"""Seconds until a disk that failed is tried again."""
SECONDS = 30.0
"""How long a disk may take."""


class Disk:
    """Sees to it, in a thread of its own, that what was written outlives a power failure.

    One wait for the disk is enough for all that was written before it.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._changed = threading.Condition()
        self._written = self._safe = Head(0, GENESIS)
        self._waiting = 0
        self._error: Exception | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="audit log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def wrote(self, head: Head) -> None:
        """Take note of how far the log goes."""
        with self._changed:
            self._written = max(self._written, head)
            self._changed.notify_all()

    def wait(self, head: Head) -> None:
        """Come back when everything up to `head` is safe.

        Raises:
            OSError: the disk failed, or is too slow.
            StorageError: the keys are gone.
        """
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._safe >= head or self._error is not None, SECONDS)
            self._waiting -= 1
            if self._safe < head:
                raise self._error or TimeoutError(f"the disk takes longer than {SECONDS:g} s")

    def close(self) -> None:
        """Wait for what is on its way, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(SECONDS)
        atexit.unregister(self.close)

    def _run(self) -> None:
        while head := self._next():
            error: Exception | None = None
            try:
                self._chain.sync(head)
            except (OSError, StorageError) as failure:
                error = failure
            with self._changed:
                self._error = error
                if error is None:
                    self._safe = head
                self._changed.notify_all()

    def _next(self) -> Head | None:
        """Return how far the log goes, as soon as that is further than before; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing, RETRY if self._error else 0)
            self._changed.wait_for(lambda: self._closing or self._written > self._safe)
            if not self._closing:  # a little later there may be more
                self._changed.wait_for(lambda: self._closing or self._waiting > 0, LINGER)
            if self._written > self._safe and not (self._closing and self._error):
                return self._written
            return None
