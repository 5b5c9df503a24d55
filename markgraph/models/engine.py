"""The seam between a chat model and what computes its tokens."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from markgraph.models.source import resolve


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    max_tokens: int = 256
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    seed: int | None = None


class Engine(Protocol):
    """Turns token ids into further token ids."""

    @property
    def tokenizer(self) -> Any:
        """Return the transformers tokenizer, with the model's own chat template."""

    @property
    def context_tokens(self) -> int:
        """Return how many tokens prompt and answer may have together."""

    def stream(self, prompt: list[int], sampling: Sampling) -> Iterator[int]:
        """Yield ids as they are computed, without the end-of-text id.

        Nothing is computed ahead: a consumer that stops iterating stops the work.
        """


@dataclass
class TransformersEngine:
    """Runs any causal language model that transformers can load, one step at a time.

    Steps of concurrent requests take turns, so that they don't fight over the cores.
    """

    source: str
    """Reference to a GGUF file or a safetensors folder, as `markgraph.models.source.resolve` takes it."""
    sha256: str | None = None
    dtype: str = "auto"
    """`auto`, `float32` or `bfloat16`."""
    _load: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _step: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def tokenizer(self) -> Any:
        """Return the model's tokenizer."""
        return self._ready()[0]

    @property
    def context_tokens(self) -> int:
        """Return the model's window."""
        return int(self._ready()[1].config.max_position_embeddings)

    def stream(self, prompt: list[int], sampling: Sampling) -> Iterator[int]:
        """Yield ids as they are computed, without the end-of-text id."""
        import torch

        tokenizer, model = self._ready()
        ends = end_tokens(tokenizer, model)
        generator = torch.Generator().manual_seed(sampling.seed) if sampling.seed is not None else None
        step, past = torch.tensor([prompt]), None  # (1, l)
        for _ in range(sampling.max_tokens):
            with self._step, torch.inference_mode():
                out = model(step, past_key_values=past, use_cache=True, logits_to_keep=1)
            past = out.past_key_values
            token = choose(out.logits[0, -1].float(), sampling, generator)
            if token in ends:
                return
            yield token
            step = torch.tensor([[token]])

    def _ready(self) -> tuple[Any, Any]:
        with self._load:
            return self._loaded

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from markgraph.models.weights import load_causal

        return load_causal(resolve(self.source, self.sha256), self.dtype)


def end_tokens(tokenizer: Any, model: Any) -> set[int]:
    """Return the ids that end an answer: Llama 3, for one, has several, and its tokenizer names one."""
    ends = model.generation_config.eos_token_id
    named = [tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])]
    return {token for token in named if token is not None}


def choose(logits: Any, sampling: Sampling, generator: Any = None) -> int:
    """Return the next token id from `logits` (v,): the likeliest, or one drawn from the nucleus.

    Source: nucleus sampling, Holtzman et al. 2020.
    """
    import torch

    if sampling.temperature <= 0:
        return int(logits.argmax())
    scaled = (logits - logits.max()) / sampling.temperature  # (v,), at most 0: no overflow
    ordered, ids = scaled.softmax(-1).sort(descending=True)  # (v,)
    ordered[ordered.cumsum(-1) - ordered > sampling.top_p] = 0.0
    return int(ids[torch.multinomial(ordered, 1, generator=generator)])
