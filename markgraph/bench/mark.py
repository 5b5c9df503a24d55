"""MARK under the bench: any of its engines, by the config that names it. Run by `worker.py`."""

import asyncio
import time

BEGUN = time.perf_counter()

import uuid  # noqa: E402
from collections.abc import Callable, Mapping, Sequence  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402, F401 -- takes a second, which is known and not MARK's

TORCH_SECONDS = time.perf_counter() - BEGUN

from markgraph.engines.port import Engine, Sampling, cache_scope  # noqa: E402

Timed = list[tuple[float, int]]
"""Tokens of one answer: seconds since the request, id."""


def load(engine: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    """Make the engine that `engine`, a config, describes, and have it load its weights."""
    from hydra.utils import instantiate

    mark = _Mark(instantiate(engine))
    return {"answer": mark.answer, "batch": mark.batch, "torch": lambda: TORCH_SECONDS}


class _Mark:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        assert engine.context_tokens  # loads it

    def answer(self, prompt: Sequence[int], new: int, scope: str | None = None) -> Timed:
        """Return `new` tokens after `prompt`; only answers of the same `scope` share caches."""
        timed: Timed = []
        begun = time.perf_counter()
        with cache_scope(scope or uuid.uuid4().hex):
            for token in self._engine.stream(list(prompt), Sampling(max_tokens=new)):
                timed.append((time.perf_counter() - begun, token.id))
        return timed

    def batch(self, prompts: Sequence[Sequence[int]], new: int) -> list[Timed]:
        """Answer all `prompts` at once, as a server does."""
        return asyncio.run(self._batch(prompts, new))

    async def _batch(self, prompts: Sequence[Sequence[int]], new: int) -> list[Timed]:
        begun = time.perf_counter()

        async def follow(prompt: Sequence[int]) -> Timed:
            timed: Timed = []
            with cache_scope(uuid.uuid4().hex):
                async for token in self._engine.astream(list(prompt), Sampling(max_tokens=new)):
                    timed.append((time.perf_counter() - begun, token.id))
            return timed

        return await asyncio.gather(*map(follow, prompts))
