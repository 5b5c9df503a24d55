"""One step of a causal language model as a function of tensors only: what can be written for other runtimes.

Keys and values come in and go out as tensors, in the layout and under the names that optimum gave them, which
ONNX Runtime, OpenVINO and transformers.js know.

Does NOT include: models with a recurrent state, or layers that see a part of the text only.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from markgraph.errors import UsageError

INPUTS = ("input_ids", "attention_mask", "position_ids")
OUTPUT = "logits"
_BATCH, _PAST, _NEW = 2, 3, 5
"""Sizes of the example that a tracer follows: 1 would be taken for a constant, so would what is equal."""


@dataclass(frozen=True)
class Shapes:
    """How large the tensors of one layer are."""

    layers: int
    heads: int
    """Heads of keys and values."""
    head_dim: int
    vocabulary: int

    def past_names(self) -> list[str]:
        """Return the names of keys and values that come in."""
        return [f"past_key_values.{n}.{part}" for n in range(self.layers) for part in ("key", "value")]

    def present_names(self) -> list[str]:
        """Return the names of keys and values that go out."""
        return [f"present.{n}.{part}" for n in range(self.layers) for part in ("key", "value")]

    def empty_past(self, batch: int, length: int = 0) -> list[Tensor]:
        """Return keys and values (b, h, p, d) of no tokens, or zeros for `length` of them."""
        return [torch.zeros(batch, self.heads, length, self.head_dim) for _ in range(2 * self.layers)]

    def example(self) -> tuple[Tensor, ...]:
        """Return the inputs of `Step` that a tracer follows."""
        ids = torch.arange(_BATCH * _NEW).view(_BATCH, _NEW) % self.vocabulary
        mask = torch.ones(_BATCH, _PAST + _NEW, dtype=torch.long)
        positions = torch.arange(_PAST, _PAST + _NEW).repeat(_BATCH, 1)
        return ids, mask, positions, *self.empty_past(_BATCH, _PAST)


class Step(nn.Module):
    """Reads some tokens after those whose keys and values it is given."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """Return logits (b, l, v), then keys and values (b, h, p + l, d) of each layer.

        Shapes: input_ids and position_ids (b, l), attention_mask (b, p + l), past (b, h, p, d).
        """
        layers = _layers(past)
        cache = DynamicCache()
        cache.layers = layers
        new, whole = input_ids.shape[1], attention_mask.shape[1]
        at = torch.arange(whole, device=input_ids.device)
        # A mask of our own: transformers' decides by values, which a tracer can't follow.
        causal = at[None, :] <= (at[:new] + (whole - new))[:, None]  # (l, p + l)
        mask = causal[None, None] & attention_mask[:, None, None, :].bool()  # (b, 1, l, p + l)
        out = self.model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
        )
        present = [part for layer in layers for part in (layer.keys, layer.values)]
        return out.logits, *present


def shapes_of(model: Any) -> Shapes:
    """Return the sizes of what `model` keeps of a text.

    Raises:
        UsageError: it keeps something else than keys and values of all tokens.
    """
    with torch.inference_mode():
        cache = model(torch.zeros(1, 1, dtype=torch.long), use_cache=True).get("past_key_values")
    if not isinstance(cache, DynamicCache) or any(type(layer) is not DynamicLayer for layer in cache.layers):
        raise UsageError(
            f"Models of the kind {model.config.model_type} can't be exported. Allowed: Transformers whose "
            "layers all see the whole text, as Llama, SmolLM2 and Qwen do. Serve this one with MARK's own "
            "engines, or with vLLM."
        )
    first: Any = cache.layers[0]
    keys: Tensor = first.keys  # (1, h, 1, d)
    return Shapes(len(cache.layers), keys.shape[1], keys.shape[3], model.config.vocab_size)


def _layers(past: tuple[Tensor, ...]) -> list[Any]:
    kept: list[Any] = []
    for keys, values in zip(past[::2], past[1::2], strict=True):
        layer: Any = DynamicLayer()  # type: ignore[no-untyped-call]
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        kept.append(layer)
    return kept
