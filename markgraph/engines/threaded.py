"""Lets an event loop follow a stream that blocks: one step at a time, on a thread of the engine's own."""

import asyncio
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from markgraph.engines.port import Token


class StepThread:
    """One thread that takes the steps of all streams that an event loop follows, in turn.

    A stream holds no thread between two tokens, and computes nothing that was not asked for. The thread is
    started by the first step.
    """

    def __init__(self, name: str) -> None:
        # Not asyncio's own threads: a hundred answers that wait there would stop whatever else needs one.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def follow(self, stream: Generator[Token, None, None]) -> AsyncIterator[Token]:
        """Yield what `stream` does; close it after the step under way when the consumer leaves."""
        context = copy_context()

        def advance() -> Token | None:
            return context.run(lambda: next(stream, None))

        try:
            while True:
                step = self._pool.submit(advance)
                if (token := await asyncio.wrap_future(step)) is None:
                    return
                yield token
        finally:
            # The thread does one thing after another: a step under way is over before this.
            self._pool.submit(context.run, stream.close)
