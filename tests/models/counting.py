"""Engines that count, for tests of how models are held in memory."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from typing import Any

from markgraph.engines.port import Engine, Sampling, Token, current_scope
from markgraph.errors import MarkError
from markgraph.models.manager import ModelManager, Spec

PROMPT, SAMPLING = [1, 2, 3], Sampling(max_tokens=3)


class CountingEngine:
    """Says the numbers from 0 on."""

    def __init__(self, source: str = "", adapters: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.adapters = dict(adapters or {})
        self.weights = threading.Event()  # a plain object that can be weakly referenced
        self.itself = self  # a cycle, as models have
        self.scopes: list[str] = []

    tokenizer: Any = None
    context_tokens = 64

    def stream(self, prompt: list[int], sampling: Sampling) -> Iterator[Token]:
        self.scopes.append(current_scope())
        return self._count(sampling)

    def _count(self, sampling: Sampling) -> Iterator[Token]:
        yield from (Token(number) for number in range(sampling.max_tokens))

    def astream(self, prompt: list[int], sampling: Sampling) -> AsyncIterator[Token]:
        self.scopes.append(current_scope())
        return self._acount(sampling)

    async def _acount(self, sampling: Sampling) -> AsyncIterator[Token]:
        for token in self._count(sampling):
            await asyncio.sleep(0)
            yield token

    def close(self) -> None:
        self.weights.set()


class Factory:
    """Makes engines, slowly if asked to, and counts them."""

    def __init__(self, seconds: float = 0.0, faults: int = 0) -> None:
        self.made: list[str] = []
        self._seconds, self._faults = seconds, faults

    def spec(self, name: str, nbytes: int = 40, **adapters: str) -> Spec:
        return Spec(name, name, nbytes, partial(self._make, name), tuple(adapters.items()))

    def _make(self, name: str, adapters: Mapping[str, str]) -> Engine:
        self.made.append(name)
        time.sleep(self._seconds)
        if len(self.made) <= self._faults:
            raise MarkError(f"{name} is broken")
        return CountingEngine(name, adapters)


def names(manager: ModelManager) -> list[str]:
    return [held.name for held in manager.held()]


def use(manager: ModelManager, spec: Spec) -> Any:
    with manager.lease(spec) as engine:
        return engine
