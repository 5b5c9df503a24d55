"""Runs a model of the Llama kind with torch's own operations, in any form, with adapters or without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from markgraph.engines.native import glue
from markgraph.engines.native.adapters import Adapter, rows_by_adapter
from markgraph.engines.native.attention import attend
from markgraph.engines.native.kv import KVPool, KVState
from markgraph.engines.native.linear import Linear
from markgraph.engines.native.llama_weights import LlamaWeights


@dataclass
class EagerLlama:
    """The reference for the compiled steps, and what serves where they don't."""

    weights: LlamaWeights
    pool: KVPool
    cos: Tensor
    """(window, e)"""
    sin: Tensor
    adapters: Mapping[str, Adapter]

    def read(self, state: KVState, ids: Sequence[int]) -> Tensor:
        """Read `ids` and return the logits after the last of them, float32 (v,)."""
        return self._logits(self._forward([state], [ids])[-1:])[0]

    def verify(self, states: Sequence[KVState], ids: Sequence[Sequence[int]]) -> Tensor:
        """Read some tokens for each state; return the logits after each, float32 (m, v)."""
        return self._logits(self._forward(states, ids))

    def _forward(self, states: Sequence[KVState], ids: Sequence[Sequence[int]]) -> Tensor:
        """Return the residual stream after the last layer, (m, d)."""
        weights, form = self.weights, self.weights.form
        lengths = [len(each) for each in ids]
        adapted = rows_by_adapter(self.adapters, [state.adapter for state in states], lengths)
        places = [range(state.length, state.length + n) for state, n in zip(states, lengths, strict=True)]
        positions = torch.tensor([place for run in places for place in run])  # (m,)
        cos, sin = self.cos[positions], self.sin[positions]  # (m, e)
        x = self._embed(torch.tensor([token for each in ids for token in each]))  # (m, d)
        y, s = torch.zeros_like(x), x.new_ones(1, 1)
        for at, layer in enumerate(weights.layers):
            x, given = glue.enter(form, weights.dims, x, y, s, layer.attention_norm)
            y, s = self._product(layer.qkv, given, adapted)
            q, k, v = glue.attention_inputs(weights.dims, y, s, layer.qkv_bias, layer.qk_norms, cos, sin)
            mixed = self._attend(at, states, lengths, q, k, v)  # (m, h e)
            y, s = self._product(layer.out, glue.prepared(form, mixed), adapted)
            x, given = glue.enter(form, weights.dims, x, y, s, layer.mlp_norm)
            y, s = self._product(layer.gate_up, given, adapted)
            y, s = self._product(layer.down, glue.gated(form, y, s), adapted)
        return x + y * s

    def _embed(self, ids: Tensor) -> Tensor:
        embedding = self.weights.embedding
        return embedding.rows(ids) if isinstance(embedding, Linear) else embedding[ids].float()

    def _logits(self, x: Tensor) -> Tensor:
        return self.weights.head(glue.rms_norm(x, self.weights.norm, self.weights.dims.eps))

    def _product(
        self, linear: Linear, given: glue.Prepared, adapted: Sequence[tuple[Adapter, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Return the product (m, n) with what its rows' adapters add, and what it has to be scaled by."""
        y, s = linear.multiply(given.a), given.s
        for adapter, rows in adapted:
            if delta := adapter.get(linear):
                # The scale is for the base's product alone, so it is taken out beforehand.
                y[rows] += delta(given.h[rows]) / s.expand(len(y), 1)[rows]
        return y, s

    def _attend(
        self, at: int, states: Sequence[KVState], lengths: list[int], q: Tensor, k: Tensor, v: Tensor
    ) -> Tensor:
        """Write keys and values of layer `at`, and return what the queries find, (m, h e)."""
        keys, values = self.pool.keys[at], self.pool.values[at]
        mixed, begin = torch.empty(q.shape[0], q.shape[1] * q.shape[2]), 0
        for state, n in zip(states, lengths, strict=True):
            rows, offset, end = slice(begin, begin + n), state.offset, state.length + n
            keys[offset + state.length : offset + end] = k[rows]
            values[offset + state.length : offset + end] = v[rows]
            run = slice(offset, offset + end)
            mixed[rows] = attend(q[rows], keys[run], values[run])
            begin += n
        return mixed
