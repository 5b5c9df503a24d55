"""The queue before the model: who is let in, and how much memory those within may take."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from markgraph.engines.native.request import Request, Row
from markgraph.errors import EngineError, OverloadedError, UsageError

PATIENCE = 8
"""So many later requests may pass one that waits for memory; then they wait behind it."""


@dataclass(frozen=True)
class Limits:
    """What one decoder takes on at once."""

    max_batch: int = 16
    """Rows of a step, and requests within; those whose consumer lags behind are not counted."""
    cache_bytes: int = 1 << 30
    """Memory of all states together."""
    queue: int = 256
    """Requests that may wait; more are refused."""
    prefill_chunk: int = 256
    """Prompt tokens that are read between two steps, of all prompts together; twice as many if none waits."""


class Admission:
    """Keeps requests in order of arrival, and lets in those for whom there is a row and memory.

    A request that needs more memory than is free is passed by smaller ones, but not for ever. One whose
    consumer lags behind gives its memory back when another needs it; its tokens are read again later.

    Args:
        bytes_for: tells how much memory so many tokens take; called from any thread.
    """

    def __init__(self, limits: Limits, bytes_for: Callable[[int], int]) -> None:
        self._limits = limits
        self._bytes_for = bytes_for
        self._waiting: deque[Request] = deque()
        self._door = Lock()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return len(self._waiting)

    def submit(self, request: Request) -> None:
        """Put `request` at the end of the queue; safe from any thread.

        Raises:
            UsageError: it needs more memory than there may be.
            OverloadedError: the queue is full.
            EngineError: the queue was closed.
        """
        request.bytes = self._bytes_for(request.capacity)
        if request.bytes > self._limits.cache_bytes:
            raise UsageError(
                f"The request may take {request.capacity} tokens, {request.bytes >> 20} MB of memory. "
                f"Allowed: {self._limits.cache_bytes >> 20} MB (cache_bytes). "
                "Lower max_tokens, or raise cache_bytes."
            )
        with self._door:
            if self._closed:
                raise EngineError("The model was closed while this request came in. Ask again.")
            if len(self._waiting) >= self._limits.queue:
                raise OverloadedError(
                    f"The model is busy, and {len(self._waiting)} requests wait. "
                    f"Allowed: {self._limits.queue} (queue_limit). Try again in a while."
                )
            self._waiting.append(request)

    def close(self) -> list[Request]:
        """Let nobody in from now on, and return who waited."""
        with self._door:
            self._closed = True
            return self._taken(list(self._waiting))

    def admit(self, running: list[Row]) -> list[Request]:
        """Take out and return the requests that may join those that are `running`.

        Where there is no memory for one, others are put back from `running` into the queue: those whose
        consumers lag behind.
        """
        with self._door:
            self._taken([request for request in self._waiting if request.cancelled])
            rows = self._limits.max_batch - sum(not row.request.paused for row in running)
            admitted: list[Request] = []
            passed: list[Request] = []
            # One that was put back waits until its consumer has caught up.
            for request in [request for request in self._waiting if not request.paused]:
                if len(admitted) >= rows or any(other.overtaken >= PATIENCE for other in passed):
                    break
                if not self._has_room(request, running, admitted):
                    passed.append(request)
                    continue
                admitted.append(request)
                for other in passed:
                    other.overtaken += 1
            return self._taken(admitted)

    def _has_room(self, request: Request, running: list[Row], admitted: list[Request]) -> bool:
        inside = [*(row.request for row in running), *admitted]
        free = self._limits.cache_bytes - sum(other.bytes for other in inside)
        lagging = [row for row in running if row.request.paused]
        if free < request.bytes <= free + sum(row.request.bytes for row in lagging):
            while free < request.bytes:
                row = lagging.pop()
                running.remove(row)
                self._waiting.appendleft(row.request)
                free += row.request.bytes
        return request.bytes <= free

    def _taken(self, requests: list[Request]) -> list[Request]:
        for request in requests:
            self._waiting.remove(request)
        return requests
