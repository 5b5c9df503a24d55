"""GGUF models through llama.cpp: the best decode of long answers, where its build suits the processor.

Does NOT include: several requests in one batch, adapters, caches that outlive an answer.
"""

import threading
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from markgraph.engines.llamacpp_model import LlamaCppModel, LlamaCppOptions
from markgraph.engines.port import Sampling, Token
from markgraph.engines.requests import answer_room, refuse
from markgraph.engines.sampler import Sampler
from markgraph.engines.threaded import Answer, Steps, StepThread, tokens_of
from markgraph.models.source import resolve


@dataclass
class LlamaCppEngine:
    """Runs a GGUF file with llama.cpp, one step at a time; steps of concurrent requests take turns.

    Each answer has memory of its own, reserved for prompt and answer and given back at its end: nobody's
    prompt is answered faster because somebody else's began alike.
    """

    source: str
    """Reference to a GGUF file, as `markgraph.models.source.resolve` takes it."""
    sha256: str | None = None
    n_ctx: int | None = None
    """The window, where it shall be shorter than the model's own."""
    n_batch: int = 512
    """Tokens of a prompt that are read in one step: others wait that long."""
    flash_attn: bool | None = None
    """None leaves it to llama.cpp."""
    threads: int | None = None
    """None for as many as compute fastest here."""
    n_gpu_layers: int = -1
    """Layers on the GPU, where the installed build has one; -1 for all."""
    _load: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _step: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _thread: StepThread = field(default_factory=lambda: StepThread("llamacpp"), repr=False, compare=False)

    @property
    def tokenizer(self) -> Any:
        """Return the tokenizer that transformers reads from the GGUF file."""
        with self._load:
            return self._tokenizer

    @property
    def context_tokens(self) -> int:
        """Return the window."""
        window = self._ready().window
        return min(window, self.n_ctx or window)

    def stream(self, prompt: list[int], sampling: Sampling) -> Generator[Token, None, None]:
        """Yield tokens as they are computed, without the end-of-text token."""
        return tokens_of(self._steps(prompt, sampling))

    def astream(self, prompt: list[int], sampling: Sampling) -> AsyncIterator[Token]:
        """Do the same without holding a thread between steps."""
        return self._thread.follow(self._steps(prompt, sampling))

    def _steps(self, prompt: list[int], sampling: Sampling) -> Steps:
        refuse("llamacpp", sampling, "adapter")
        room = answer_room(prompt, sampling, self.context_tokens)
        if room == 0:
            return
        model = self._ready()
        sequence = model.open(len(prompt) + room)
        try:
            answer = Answer(sequence, prompt, Sampler(sampling), room, model.ends)
            yield from answer.steps(self.n_batch, self._step)
        finally:
            sequence.close()

    def _ready(self) -> LlamaCppModel:
        with self._load:
            return self._model

    @cached_property
    def _gguf(self) -> Path:
        return resolve(self.source, self.sha256)

    @cached_property
    def _tokenizer(self) -> Any:
        from markgraph.models.weights import load_tokenizer

        return load_tokenizer(self._gguf)

    @cached_property
    def _model(self) -> LlamaCppModel:
        from markgraph.engines.llamacpp_probe import probe
        from markgraph.models.machine import processor

        threads = self.threads or processor().threads
        options = LlamaCppOptions(threads, self.n_batch, self.flash_attn, self.n_gpu_layers)
        probe(self._gguf, options)
        return LlamaCppModel(self._gguf, options)
