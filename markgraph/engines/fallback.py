"""Any checkpoint, with the engine that knows its architecture."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from typing import Any

from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.port import Sampling, Token, cache_scope, current_scope
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import UnknownArchitectureError
from markgraph.models.registry import pinned


@dataclass
class FallbackEngine:
    """Answers with the native engine, or with transformers where that doesn't know the model's architecture.

    Which of the two is seen when the model is loaded, at the first request.
    """

    source: str
    """Reference to a GGUF file or a safetensors folder, as `markgraph.models.source.resolve` takes it."""
    sha256: str | None = None
    adapter: str | None = None
    """Reference to a PEFT adapter that is merged into the weights."""
    native: Callable[..., NativeEngine] = NativeEngine
    """Makes the native engine, but for the settings above."""
    otherwise: Callable[..., TransformersEngine] = TransformersEngine
    """Makes the other one."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _chosen: NativeEngine | TransformersEngine | None = field(default=None, init=False, repr=False)
    _bare: "FallbackEngine | None" = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.source, self.adapter = pinned(self.source), self.adapter and pinned(self.adapter)
        if self.adapter:
            self._bare = replace(self, adapter=None, _lock=threading.Lock())

    def references(self, adapter: str | None) -> tuple[str, ...]:
        """Return what answers with `adapter` come from."""
        made = self.native(**self._weights)  # loads nothing
        return made.references(adapter)

    def bare(self) -> "FallbackEngine | None":
        """Return the same engine without the adapter that is merged into it; None if there is none."""
        return self._bare

    @property
    def tokenizer(self) -> Any:
        """Return the model's tokenizer."""
        return self._ready().tokenizer

    @property
    def context_tokens(self) -> int:
        """Return the model's window."""
        return self._ready().context_tokens

    def stream(self, prompt: list[int], sampling: Sampling) -> Generator[Token, None, None]:
        """Yield tokens as they are computed, without the end-of-text token."""
        return self._stream(prompt, sampling, current_scope())

    def astream(self, prompt: list[int], sampling: Sampling) -> AsyncGenerator[Token, None]:
        """Do the same without holding a thread."""
        return self._astream(prompt, sampling, current_scope())

    def close(self) -> None:
        """Give the memory back; a later call loads the model anew."""
        with self._lock:
            if isinstance(self._chosen, NativeEngine):
                self._chosen.close()
            self._chosen = None
        if self._bare:
            self._bare.close()

    def _stream(self, prompt: list[int], sampling: Sampling, scope: str) -> Generator[Token, None, None]:
        with cache_scope(scope):
            tokens = self._ready().stream(prompt, sampling)
        with closing(tokens):
            yield from tokens

    async def _astream(
        self, prompt: list[int], sampling: Sampling, scope: str
    ) -> AsyncGenerator[Token, None]:
        engine = self._chosen
        if engine is None:
            engine = await asyncio.to_thread(self._ready)
        with cache_scope(scope):
            tokens = engine.astream(prompt, sampling)
        async with aclosing(tokens):
            async for token in tokens:
                yield token

    @property
    def _weights(self) -> dict[str, Any]:
        return {"source": self.source, "sha256": self.sha256, "adapter": self.adapter}

    def _ready(self) -> NativeEngine | TransformersEngine:
        with self._lock:
            if self._chosen is None:
                native = self.native(**self._weights)
                try:
                    native.context_tokens  # noqa: B018 -- loads it
                    self._chosen = native
                except UnknownArchitectureError:
                    self._chosen = self.otherwise(**self._weights)
            return self._chosen
