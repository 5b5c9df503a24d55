"""Models in OpenVINO's form, or GGUF files that OpenVINO GenAI reads: quick with long prompts on Intel.

Does NOT include: several requests in one batch, adapters, caches that outlive an answer.
"""

import threading
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from markgraph.engines.openvino_model import OpenVinoModel, model_folder
from markgraph.engines.port import Sampling, Token
from markgraph.engines.requests import answer_room, refuse
from markgraph.engines.sampler import Sampler
from markgraph.engines.threaded import Answer, Steps, StepThread, tokens_of
from markgraph.models.source import resolve


@dataclass
class OpenVinoEngine:
    """Runs a model with OpenVINO, one step at a time; steps of concurrent requests take turns.

    Each answer has a state of its own, given back at its end: nobody's prompt is answered faster because
    somebody else's began alike.
    """

    source: str
    """Reference to a folder with openvino_model.xml, or to a GGUF file, as `resolve` takes it."""
    sha256: str | None = None
    device: str = "CPU"
    """`CPU`, `GPU` or `NPU`, as OpenVINO names what it finds."""
    accurate: bool = False
    """Compute in the precision of the weights, with a float32 cache; otherwise in what is fastest here."""
    n_batch: int = 512
    """Tokens of a prompt that are read in one step: others wait that long."""
    threads: int | None = None
    """None for as many as compute fastest here."""
    _load: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _step: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _thread: StepThread = field(default_factory=lambda: StepThread("openvino"), repr=False, compare=False)

    @property
    def tokenizer(self) -> Any:
        """Return the model's tokenizer."""
        with self._load:
            return self._tokenizer

    @property
    def context_tokens(self) -> int:
        """Return the model's window."""
        return self._ready().window

    def stream(self, prompt: list[int], sampling: Sampling) -> Generator[Token, None, None]:
        """Yield tokens as they are computed, without the end-of-text token."""
        return tokens_of(self._steps(prompt, sampling))

    def astream(self, prompt: list[int], sampling: Sampling) -> AsyncIterator[Token]:
        """Do the same without holding a thread between steps."""
        return self._thread.follow(self._steps(prompt, sampling))

    def _steps(self, prompt: list[int], sampling: Sampling) -> Steps:
        refuse("openvino", sampling, "adapter")
        room = answer_room(prompt, sampling, self.context_tokens)
        if room == 0:
            return
        model = self._ready()
        ends = model.ends | {self.tokenizer.eos_token_id}
        answer = Answer(model.open(), prompt, Sampler(sampling), room, ends.__contains__)
        yield from answer.steps(self.n_batch, self._step)

    def _ready(self) -> OpenVinoModel:
        with self._load:
            return self._model

    @cached_property
    def _weights(self) -> Path:
        return resolve(self.source, self.sha256)

    @cached_property
    def _tokenizer(self) -> Any:
        from markgraph.models.weights import load_tokenizer

        return load_tokenizer(self._weights)

    @cached_property
    def _model(self) -> OpenVinoModel:
        from markgraph.models.machine import processor

        threads = self.threads or processor().threads
        return OpenVinoModel(model_folder(self._weights), self.device, threads, self.accurate)
