"""The engine of our own: many answers at once from one model in plain torch."""

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from markgraph.engines.port import Sampling, Token, current_scope
from markgraph.models.registry import pinned

if TYPE_CHECKING:
    from markgraph.engines.native.prefix import PrefixStats
    from markgraph.engines.native.request import Request
    from markgraph.engines.native.scheduler import Load
    from markgraph.engines.native.serving import Serving


@dataclass
class NativeEngine:
    """Reads and answers many requests together, one step of all after another, on a thread of its own.

    An answer is computed ahead of its consumer by at most `pipe.UNREAD` tokens. What was read stays in a
    cache, for prompts that begin alike in the same `cache_scope`.
    """

    source: str
    """Reference to a GGUF file or a safetensors folder, as `markgraph.models.source.resolve` takes it."""
    sha256: str | None = None
    adapter: str | None = None
    """Reference to a PEFT adapter that is merged into the weights: it serves as fast as they do."""
    mode: str = "fast"
    """`fast`, `small` (less memory) or `exact` (float32)."""
    gate: bool = True
    """Serve a mode only if it passes `markgraph.models.gate` on this machine, else `exact`; measured once."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """References to PEFT adapters beside these weights, by the names that `Sampling.adapter` takes."""
    max_batch: int = 16
    """Requests that are answered at once; more wait."""
    cache_bytes: int = 1 << 30
    """Memory of all answers that are under way."""
    prefix_bytes: int = 512 << 20
    """Memory of what was read before; 0 to read every prompt anew."""
    prefill_chunk: int = 256
    """Prompt tokens that are read between two steps of the answers under way; twice as many if none is."""
    queue_limit: int = 256
    """Requests that may wait; more are refused with an `OverloadedError`."""
    speculation: str = "auto"
    """`auto` guesses tokens where that is measured to be faster, `off` never. The answers are the same."""
    draft: str | None = None
    """Reference to a smaller model with the same tokenizer, which guesses where there is nothing to copy."""
    state_folder: str | None = None
    """Where what was read is kept, sealed, for the next start; None to keep it nowhere."""
    state_bytes: int = 4 << 30
    """Bound on that folder."""
    threads: int | None = None
    """Threads that compute; None for the cores that this process may use."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _serving: "Serving | None" = field(default=None, init=False, repr=False, compare=False)
    _finalizer: "weakref.finalize[[], NativeEngine] | None" = field(
        default=None, init=False, repr=False, compare=False
    )

    _bare: "NativeEngine | None" = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.source, self.adapter = pinned(self.source), self.adapter and pinned(self.adapter)
        self.adapters = {name: pinned(each) for name, each in self.adapters.items()}
        if self.adapter:
            self._bare = replace(self, adapter=None, _lock=threading.Lock())

    def references(self, adapter: str | None) -> tuple[str, ...]:
        """Return what answers with `adapter` come from."""
        named = (self.source, self.adapter, self.draft, self.adapters.get(adapter or ""))
        return tuple(each for each in named if each)

    def bare(self) -> "NativeEngine | None":
        """Return the same engine without the adapter that is merged into it; None if there is none."""
        return self._bare

    @property
    def tokenizer(self) -> Any:
        """Return the model's tokenizer."""
        return self._ready().tokenizer

    @property
    def context_tokens(self) -> int:
        """Return the model's window."""
        return self._ready().window

    @property
    def load(self) -> "Load":
        """Return what there is to do now."""
        return self._ready().worker.scheduler.load

    @property
    def prefixes(self) -> "PrefixStats | None":
        """Return how often a prompt began like one that was read before; None where nothing is kept."""
        kept = self._ready().prefixes
        return kept.stats if kept else None

    def stream(self, prompt: list[int], sampling: Sampling) -> Generator[Token, None, None]:
        """Yield tokens as they are computed, without the end-of-text token."""
        return self._stream(prompt, sampling, current_scope())

    def astream(self, prompt: list[int], sampling: Sampling) -> AsyncGenerator[Token, None]:
        """Do the same without holding a thread."""
        return self._astream(prompt, sampling, current_scope())

    def close(self) -> None:
        """End what is under way with an error and give the memory back; a later call loads the model anew."""
        with self._lock:
            self._end()
        if self._bare:
            self._bare.close()

    def _stream(self, prompt: list[int], sampling: Sampling, scope: str) -> Generator[Token, None, None]:
        with _asked(self._ready(), prompt, sampling, scope) as request:
            yield from request.pipe.read()

    async def _astream(
        self, prompt: list[int], sampling: Sampling, scope: str
    ) -> AsyncGenerator[Token, None]:
        serving = self._serving
        if serving is None or not serving.worker.alive:
            serving = await asyncio.to_thread(self._ready)
        with _asked(serving, prompt, sampling, scope) as request:
            async for token in request.pipe.aread():
                yield token

    def _ready(self) -> "Serving":
        with self._lock:
            if self._serving and not self._serving.worker.alive:
                self._end()
            if self._serving is None:
                from markgraph.engines.native.serving import serve

                self._serving = serve(self)
                self._finalizer = weakref.finalize(self, self._serving.close)
            return self._serving

    def _end(self) -> None:
        if self._finalizer:
            self._finalizer()  # closes, once, and lets go of the model
        self._serving = self._finalizer = None


@contextmanager
def _asked(serving: "Serving", prompt: list[int], sampling: Sampling, scope: str) -> Iterator["Request"]:
    """Have `prompt` answered for as long as the block takes."""
    request = serving.ask(prompt, sampling, scope)
    try:
        yield request
    finally:
        serving.worker.cancel(request)
