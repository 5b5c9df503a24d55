"""Transformers of the Llama kind: RMSNorm, rotary positions, grouped queries, SwiGLU.

Llama and SmolLM (Touvron et al. 2023), Mistral without a sliding window, Qwen2 (biases), Qwen3 (norms on
queries and keys). Does NOT include: sliding windows, mixtures of experts, biases elsewhere.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from torch import Tensor

from markgraph.engines.native import kernels
from markgraph.engines.native.adapters import Adapter
from markgraph.engines.native.compiled import CompiledLlama, agree, fits
from markgraph.engines.native.decoder import SequenceState, Snapshot
from markgraph.engines.native.eager import EagerLlama
from markgraph.engines.native.kv import KVPool, KVSnapshot, KVState
from markgraph.engines.native.llama_weights import LlamaWeights
from markgraph.errors import UsageError

log = logging.getLogger(__name__)


class Runner(Protocol):
    """Computes what tokens add to the sequences, without lengthening them."""

    def read(self, state: KVState, ids: Sequence[int]) -> Tensor:
        """Read `ids` and return the logits after the last of them, float32 (v,)."""

    def verify(self, states: Sequence[KVState], ids: Sequence[Sequence[int]]) -> Tensor:
        """Read some tokens for each state; return the logits after each, float32 (m, v)."""


@dataclass
class LlamaDecoder:
    """Reads and steps sequences whose keys and values lie in one pool."""

    weights: LlamaWeights
    kv_dtype: torch.dtype = torch.float32
    compile: bool = True
    """Use compiled kernels where the model's form and the machine allow it."""
    cumulative: bool = False
    adapters: dict[str, Adapter] = field(default_factory=dict, init=False, repr=False)
    """What `open` takes, by name."""
    _pool: KVPool = field(init=False, repr=False)
    _eager: EagerLlama = field(init=False, repr=False)
    _runner: Runner = field(init=False, repr=False)

    def __post_init__(self) -> None:
        weights, dims = self.weights, self.weights.dims
        self.vocab_size, self.window = weights.head.outputs, weights.window
        self._pool = KVPool(len(weights.layers), dims.kv_heads, dims.head_dim, self.kv_dtype)
        angles = torch.outer(torch.arange(self.window).float(), weights.inverse_frequencies)
        angles = torch.cat([angles, angles], -1)  # (window, e)
        cos, sin = angles.cos() * weights.rotary_scale, angles.sin() * weights.rotary_scale
        self._runner = self._eager = EagerLlama(weights, self._pool, cos, sin, self.adapters)
        if self.compile and fits(weights) and (library := kernels.library()):
            compiled = CompiledLlama(library, weights, self._pool, cos, sin)
            self._runner = compiled if self._trusted(compiled) else self._eager

    @torch.inference_mode()
    def _trusted(self, compiled: CompiledLlama) -> bool:
        if agreed := agree(compiled, self._eager):
            return agreed
        log.warning("The compiled kernels give wrong logits on this machine, so torch's operations serve.")
        return False

    def open(self, capacity: int, adapter: str | None = None) -> KVState:
        """Return an empty state with room for `capacity` tokens.

        Raises:
            UsageError: there is no such adapter.
        """
        if adapter is not None and adapter not in self.adapters:
            known = ", ".join(sorted(self.adapters)) or "none"
            raise UsageError(f"There is no adapter {adapter!r}. Known: {known}. Load the model with it.")
        return self._pool.open(capacity, adapter)

    def bytes_for(self, capacity: int) -> int:
        """Return what `open(capacity)` will reserve, in bytes."""
        return self._pool.bytes_for(capacity)

    @torch.inference_mode()
    def read(self, state: SequenceState, ids: Sequence[int]) -> Tensor:
        """Read `ids` and return the logits after the last of them, float32 (v,)."""
        own = cast(KVState, state)
        logits = (self._eager if own.adapter else self._runner).read(own, ids)
        own.length += len(ids)
        return logits

    @torch.inference_mode()
    def step(self, states: Sequence[SequenceState], ids: Sequence[int]) -> Tensor:
        """Read one token for each state, and return the logits after it, float32 (b, v)."""
        return self._verify(states, [[token] for token in ids])

    @torch.inference_mode()
    def verify(self, states: Sequence[SequenceState], ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Read some tokens for each state; return the logits after each, float32 (l_i, v)."""
        return list(torch.split(self._verify(states, ids), [len(each) for each in ids]))

    def rewind(self, state: SequenceState, length: int) -> None:
        """Forget all but the first `length` tokens."""
        cast(KVState, state).length = length

    def save(self, state: SequenceState, start: int) -> KVSnapshot:
        """Return a copy of what the tokens from `start` on have added."""
        return self._pool.save(cast(KVState, state), start)

    @torch.inference_mode()
    def restore(self, state: SequenceState, snapshots: Sequence[Snapshot]) -> None:
        """Fill an empty state from snapshots that follow one another."""
        runs = [(each.start, each.end, each.tensors["keys"], each.tensors["values"]) for each in snapshots]
        self._pool.restore(cast(KVState, state), runs)

    def _verify(self, states: Sequence[SequenceState], ids: Sequence[Sequence[int]]) -> Tensor:
        own = cast(Sequence[KVState], states)
        if self._runner is self._eager or not any(state.adapter for state in own):
            logits = self._runner.verify(own, ids)
        else:
            logits = self._apart(own, ids)
        for state, each in zip(own, ids, strict=True):
            state.length += len(each)
        return logits

    def _apart(self, states: Sequence[KVState], ids: Sequence[Sequence[int]]) -> Tensor:
        """Read those with adapters by torch's operations, and the others by the kernels.

        Which of the two serves a row may show in its last bits, so that must not depend on other rows.
        """
        found: dict[int, Tensor] = {}
        for runner, adapted in ((self._runner, False), (self._eager, True)):
            places = [at for at, state in enumerate(states) if bool(state.adapter) == adapted]
            if places:
                some = [ids[at] for at in places]
                logits = runner.verify([states[at] for at in places], some)
                found |= zip(places, torch.split(logits, [len(each) for each in some]), strict=True)
        return torch.cat([found[at] for at in range(len(states))])
