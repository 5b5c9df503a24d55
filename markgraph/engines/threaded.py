"""Lets an event loop follow a stream that blocks: one step at a time, on a thread of the engine's own."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from contextvars import copy_context
from typing import Any, Final, NamedTuple, Protocol

from markgraph.engines.port import Token
from markgraph.engines.sampler import Sampler

Steps = Generator[Token | None, None, None]
"""A stream that says None after a step that gave no token: between two steps, a consumer can leave."""

_END: Final = object()


class StepThread:
    """One thread that takes the steps of all streams that an event loop follows, in turn.

    A stream holds no thread between two steps, and computes nothing that was not asked for. The thread is
    started by the first step.
    """

    def __init__(self, name: str) -> None:
        # Not asyncio's own threads: a hundred answers that wait there would stop whatever else needs one.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def follow(self, steps: Steps) -> AsyncGenerator[Token, None]:
        """Yield the tokens of `steps`; close it after the step under way when the consumer leaves."""
        context = copy_context()

        def advance() -> object:
            return context.run(lambda: next(steps, _END))

        try:
            while (token := await asyncio.wrap_future(self._pool.submit(advance))) is not _END:
                if isinstance(token, Token):
                    yield token
        finally:
            # The thread does one thing after another: a step under way is over before this.
            self._pool.submit(context.run, steps.close)


class Reader(Protocol):
    """What an engine remembers of one answer."""

    def read(self, ids: list[int]) -> Any:
        """Read tokens, and return the logits after the last of them, a float32 array (v,)."""


class Answer(NamedTuple):
    """One answer of an engine that computes a step at a time."""

    sequence: Reader
    prompt: list[int]
    sampler: Sampler
    room: int
    """Tokens that it may have."""
    ends: Callable[[int], bool]
    """Tells whether a token ends it."""

    def steps(self, n_batch: int, turn: AbstractContextManager[Any]) -> Steps:
        """Read the prompt, `n_batch` tokens a step, then say one token a step; each step waits its `turn`."""
        import torch

        for start in range(0, len(self.prompt), n_batch):
            with turn:
                logits = self.sequence.read(self.prompt[start : start + n_batch])
            yield None
        for left in reversed(range(self.room)):
            token = self.sampler.pick(torch.from_numpy(logits))
            if self.ends(token.id):
                return
            yield token
            if left:
                with turn:
                    logits = self.sequence.read([token.id])


def tokens_of(steps: Steps) -> Generator[Token, None, None]:
    """Yield the tokens of `steps`; close it with this generator."""
    with closing(steps):
        for token in steps:
            if token is not None:
                yield token
