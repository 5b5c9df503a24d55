"""An engine that is in memory while it is used, and while there is room: what config puts into a model."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from markgraph.engines.port import Engine, Sampling, Token, cache_scope, current_scope
from markgraph.models.manager import ModelManager, Spec
from markgraph.models.registry import pinned


def managed(
    engine: "partial[Engine]",
    memory: int,
    adapters: Mapping[str, str] | None = None,
    budget: int | None = None,
) -> "ManagedEngine":
    """Return `engine` under the care of the manager that all models of this process share.

    Args:
        engine: makes the engine, `_partial_` in config; two with equal settings are one in memory.
        memory: bytes that it takes, caches included.
        adapters: name and source of adapters over it; those of all configs with the same base are loaded
            together, once.
        budget: bytes that all models may take together; None for three quarters of what is free.
    """
    names = ("source", "adapter")
    weights = {name: pinned(engine.keywords[name]) for name in names if engine.keywords.get(name)}
    adapters = {name: pinned(source) for name, source in (adapters or {}).items()}
    engine = partial(engine.func, **(engine.keywords | weights))
    settings = json.dumps(engine.keywords, sort_keys=True, default=str)
    spec = Spec(
        name=str(engine.keywords.get("source", engine.func.__name__)),
        key=f"{engine.func.__module__}.{engine.func.__qualname__} {settings}",
        nbytes=memory,
        make=lambda adapters: engine(adapters=dict(adapters)) if adapters else engine(),
        adapters=tuple(sorted(adapters.items())),
    )
    bare = None
    if "adapter" in weights:
        bare = managed(
            partial(engine.func, **(engine.keywords | {"adapter": None})), memory, adapters, budget
        )
    return ManagedEngine(spec, shared_manager(budget), tuple(weights.values()), bare)


@lru_cache
def shared_manager(budget: int | None = None) -> ModelManager:
    """Return the manager of this process; each budget has its own."""
    return ModelManager(budget)


@dataclass
class ManagedEngine:
    """An `Engine` that holds a lease for as long as it streams an answer."""

    spec: Spec
    manager: ModelManager
    weights: tuple[str, ...] = ()
    """References to what it answers with, beside adapters by name."""
    without_adapter: "ManagedEngine | None" = None
    _known: tuple[Any, int] | None = field(default=None, repr=False, compare=False)
    """Tokenizer and window: small, and asked for before each answer."""

    def __post_init__(self) -> None:
        self.manager.announce(self.spec)

    def references(self, adapter: str | None) -> tuple[str, ...]:
        """Return what answers with `adapter` come from."""
        named = dict(self.spec.adapters).get(adapter or "")
        return (*self.weights, named) if named else self.weights

    def bare(self) -> "ManagedEngine | None":
        """Return the same engine without the adapter that is merged into it; None if there is none."""
        return self.without_adapter

    @property
    def tokenizer(self) -> Any:
        """Return the model's tokenizer."""
        return self._about()[0]

    @property
    def context_tokens(self) -> int:
        """Return the model's window."""
        return self._about()[1]

    def stream(self, prompt: list[int], sampling: Sampling) -> Iterator[Token]:
        """Yield tokens as they are computed, without the end-of-text token."""
        return self._stream(prompt, sampling, current_scope())

    def astream(self, prompt: list[int], sampling: Sampling) -> AsyncIterator[Token]:
        """Do the same without holding a thread, except while the model is loaded."""
        return self._astream(prompt, sampling, current_scope())

    def _stream(self, prompt: list[int], sampling: Sampling, scope: str) -> Iterator[Token]:
        with self.manager.lease(self.spec) as engine:
            with cache_scope(scope):  # whose caches is decided by who asks, not by who reads the answer
                tokens = engine.stream(prompt, sampling)
            yield from tokens

    async def _astream(self, prompt: list[int], sampling: Sampling, scope: str) -> AsyncIterator[Token]:
        async with self.manager.alease(self.spec) as engine:
            with cache_scope(scope):
                tokens = engine.astream(prompt, sampling)
            try:
                async for token in tokens:
                    yield token
            finally:
                if isinstance(tokens, AsyncGenerator):
                    await tokens.aclose()  # now, not when it is collected: the lease ends here

    def _about(self) -> tuple[Any, int]:
        if self._known is None:
            with self.manager.lease(self.spec) as engine:
                self._known = engine.tokenizer, engine.context_tokens
        return self._known
