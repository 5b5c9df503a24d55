"""How tokens get from the thread of the engine to whoever reads them."""

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple

from markgraph.engines.port import Token

UNREAD = 32
"""So many tokens may wait for a consumer; then its request pauses until half of them are taken."""


class End(NamedTuple):
    """The last thing in a pipe."""

    error: Exception | None = None


class Bell:
    """Wakes the consumers on an event loop: all whom a step has a token for at once, as each call costs."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._arrived: deque[asyncio.Event] = deque()
        self._rung = False

    def ring(self, arrived: asyncio.Event) -> None:
        """Have `arrived` set soon, on the loop; called by other threads.

        Raises:
            RuntimeError: the loop is closed.
        """
        self._arrived.append(arrived)
        loop = self._loop()
        if loop is None or loop.is_closed():
            raise RuntimeError("The event loop is closed.")
        if not self._rung:  # otherwise what was appended is yet to be seen
            self._rung = True
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._rung = False
        while self._arrived:
            self._arrived.popleft().set()


_bells: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Bell] = weakref.WeakKeyDictionary()


def _bell(loop: asyncio.AbstractEventLoop) -> Bell:
    """Return the bell of `loop`, which is the running one."""
    return _bells.get(loop) or _bells.setdefault(loop, Bell(loop))


class Pipe:
    """Carries tokens from the engine's thread to one consumer, on a thread or on an event loop.

    Args:
        resume: called when a consumer that had let its tokens pile up has taken half of them.
    """

    def __init__(self, resume: Callable[[], None]) -> None:
        self._items: SimpleQueue[Token | End] = SimpleQueue()
        self._resume = resume
        self._arrived: Callable[[], object] = bool

    @property
    def room(self) -> int:
        """Return how many tokens may still be put."""
        return UNREAD - self._items.qsize()

    def put(self, item: Token | End) -> None:
        """Hand on a token, or the end. Never waits.

        Raises:
            RuntimeError: the consumer's event loop is closed.
        """
        self._items.put(item)
        self._arrived()

    def read(self) -> Iterator[Token]:
        """Yield tokens as they come, blocking this thread in between; raise what the request failed with."""
        while (token := self._taken(self._items.get())) is not None:
            yield token

    async def aread(self) -> AsyncIterator[Token]:
        """Do the same without holding a thread."""
        arrived = asyncio.Event()
        self._arrived = partial(_bell(asyncio.get_running_loop()).ring, arrived)
        while True:
            try:
                item = self._items.get_nowait()
            except Empty:
                # `arrived` is only set on this loop, so a token that comes now is not missed.
                await arrived.wait()
                arrived.clear()
                continue
            if (token := self._taken(item)) is None:
                return
            yield token

    def _taken(self, item: Token | End) -> Token | None:
        if isinstance(item, End):
            if item.error:
                raise item.error
            return None
        if self._items.qsize() == UNREAD // 2:
            self._resume()
        return item
