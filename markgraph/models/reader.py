"""Reads text with a transformers model the way native decoders are read: a state, and logits after tokens."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass
class _Past:
    """Keys and values, or a recurrent state."""

    cache: Any = None


class ModelReader:
    """A `markgraph.models.quality.Reads` over a causal language model of transformers, on any device."""

    def __init__(self, model: Any) -> None:
        self._model = model
        # Mamba's name for it; with several tokens and a state, transformers' Mamba is wrong.
        self._recurrent = "cache_params" in inspect.signature(model.forward).parameters

    def open(self, capacity: int) -> _Past:  # noqa: ARG002 -- caches of transformers grow
        """Return an empty state."""
        return _Past()

    def read(self, state: _Past, ids: Sequence[int]) -> "torch.Tensor":
        """Read `ids` and return the logits after the last of them, float32 (v,)."""
        return self._logits(state, ids, keep=1)[-1]

    def step(self, states: Sequence[_Past], ids: Sequence[int]) -> "torch.Tensor":
        """Read one token for each state, one after another; return the logits after it, float32 (b, v)."""
        import torch

        return torch.cat([self._logits(state, [token]) for state, token in zip(states, ids, strict=True)])

    def verify(self, states: Sequence[_Past], ids: Sequence[Sequence[int]]) -> "list[torch.Tensor]":
        """Read tokens for each state; return the logits after each token, float32 (l_i, v)."""
        return [self._logits(state, tokens) for state, tokens in zip(states, ids, strict=True)]

    def _logits(self, state: _Past, ids: Sequence[int], keep: int = 0) -> "torch.Tensor":
        import torch

        if self._recurrent and state.cache is not None and len(ids) > 1:
            return torch.cat([self._logits(state, [token]) for token in ids])
        name = "cache_params" if self._recurrent else "past_key_values"
        tokens = torch.tensor([list(ids)], device=self._model.device)  # (1, l)
        options = {name: state.cache, "use_cache": True, "logits_to_keep": keep}
        out = self._model(tokens, **options)
        state.cache = out[name]
        return out.logits[0].float().cpu()  # type: ignore[no-any-return]
