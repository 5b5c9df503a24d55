"""Any causal language model that transformers can load: the fallback, and the reference for the others.

Does NOT include: batching, adapters by name, state that outlives an answer.
"""

import inspect
import threading
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from markgraph.engines.port import Sampling, Token
from markgraph.engines.requests import answer_room, refuse
from markgraph.engines.sampler import Sampler, end_tokens
from markgraph.engines.threaded import StepThread
from markgraph.models.merge import weights_with
from markgraph.models.registry import pinned

UNBOUNDED = 1 << 20
"""The window of a recurrent model, which has none: long enough for any prompt, short enough to be a bound."""


def _thread() -> StepThread:
    return StepThread("transformers")


@dataclass
class TransformersEngine:
    """Runs any causal language model that transformers can load, one step at a time.

    Steps of concurrent requests take turns, so that they don't fight over the cores.
    """

    source: str
    """Reference to a GGUF file or a safetensors folder, as `markgraph.models.source.resolve` takes it."""
    sha256: str | None = None
    adapter: str | None = None
    """Reference to a PEFT adapter that is merged into the weights."""
    dtype: str = "auto"
    """`auto`, `float32` or `bfloat16`."""
    device_map: str | None = None
    """`auto` spreads the layers over all GPUs, `cuda:0` takes one; None stays on the processor."""
    tp_plan: str | None = None
    """`auto` cuts each layer over the GPUs of a `torchrun`: tensor parallelism."""
    quantization: str | None = None
    """`nf4` or `fp8`, on GPUs that have it."""
    _load: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _step: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _thread: StepThread = field(default_factory=_thread, repr=False, compare=False)

    _bare: "TransformersEngine | None" = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.source, self.adapter = pinned(self.source), self.adapter and pinned(self.adapter)
        if self.adapter:
            own = {"_load": threading.Lock(), "_step": threading.Lock(), "_thread": _thread()}
            self._bare = replace(self, adapter=None, **own)

    def references(self, adapter: str | None) -> tuple[str, ...]:  # noqa: ARG002 -- it has none by name
        """Return what answers come from."""
        return tuple(each for each in (self.source, self.adapter) if each)

    def bare(self) -> "TransformersEngine | None":
        """Return the same engine without the adapter that is merged into it; None if there is none."""
        return self._bare

    @property
    def tokenizer(self) -> Any:
        """Return the model's tokenizer."""
        return self._ready()[0]

    @property
    def context_tokens(self) -> int:
        """Return the model's window."""
        # Mamba's config has no such entry.
        return int(getattr(self._ready()[1].config, "max_position_embeddings", UNBOUNDED))

    def stream(self, prompt: list[int], sampling: Sampling) -> Generator[Token, None, None]:
        """Yield tokens as they are computed, without the end-of-text token."""
        import torch

        refuse("transformers", sampling, "adapter")
        room = answer_room(prompt, sampling, self.context_tokens)
        tokenizer, model = self._ready()
        ends = end_tokens(tokenizer, model.generation_config.eos_token_id)
        sampler = Sampler(sampling)
        # One token at a time after the prompt: with several and a state, transformers' Mamba is wrong.
        step, past = torch.tensor([prompt], device=model.device), None  # (1, l)
        for _ in range(room):
            with self._step, torch.inference_mode():
                logits, past = _forward(model, step, past)
                token = sampler.pick(logits)
            if token.id in ends:
                return
            yield token
            step = torch.tensor([[token.id]], device=model.device)

    def astream(self, prompt: list[int], sampling: Sampling) -> AsyncGenerator[Token, None]:
        """Do the same without holding a thread between tokens."""
        return self._thread.follow(self.stream(prompt, sampling))

    def _ready(self) -> tuple[Any, Any]:
        with self._load:
            return self._loaded

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from markgraph.models.placement import Placement
        from markgraph.models.weights import load_causal

        placement = Placement(self.device_map, self.tp_plan, self.quantization)
        return load_causal(weights_with(self.source, self.sha256, self.adapter), self.dtype, placement)


def _forward(model: Any, ids: Any, past: Any) -> tuple[Any, Any]:
    """Return the logits after the last of `ids` (1, l), float32 (v,), and the state to go on from."""
    takes = inspect.signature(model.forward).parameters
    name = "cache_params" if "cache_params" in takes else "past_key_values"  # Mamba's name for it
    out = model(ids, use_cache=True, logits_to_keep=1, **{name: past})
    return out.logits[0, -1].float().cpu(), out[name]
