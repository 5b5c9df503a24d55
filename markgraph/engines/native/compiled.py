"""Runs a Llama-kind model in its int8 form with the compiled kernels.

A few rows are read in one call, with the kernels' own products; more rows stage by stage, with oneDNN's.
Both give the same integers, so which of them serves changes no result.
"""

from collections.abc import Sequence
from ctypes import CDLL, byref
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from markgraph.engines.native import kernels
from markgraph.engines.native.eager import EagerLlama
from markgraph.engines.native.kv import KVPool, KVState
from markgraph.engines.native.linear import ZERO, Linear
from markgraph.engines.native.llama_weights import Layer, LlamaWeights
from markgraph.engines.native.probe import relative_error
from markgraph.engines.native.threads import Threads
from markgraph.engines.native.work import Widths, Work

FEW = 24
"""Rows up to which the kernels' own products are the faster ones."""
ERROR = 0.2
"""What rounding in another order may change, where it tips a byte: the error's norm over the logits'."""
STRIDE = 557
"""Between the tokens that are tried: the first ones of a vocabulary are for control, and a model that reads
them in a row is so unsure that one tipped byte changes everything."""


def fits(weights: LlamaWeights) -> bool:
    """Tell whether the kernels know this model's form and sizes."""
    linears = [
        linear for layer in weights.layers for linear in (layer.qkv, layer.out, layer.gate_up, layer.down)
    ]
    dims = weights.dims
    whole = dims.head_dim % kernels.PAIR == 0 and dims.head_dim <= kernels.LARGEST_HEAD
    grouped = dims.heads // dims.kv_heads <= kernels.QUERIES and isinstance(weights.embedding, Tensor)
    return whole and grouped and all(linear.form.name == "int8" for linear in (*linears, weights.head))


def agree(compiled: "CompiledLlama", eager: EagerLlama) -> bool:
    """Tell whether the kernels compute here what torch's operations compute: few rows, many, and reading."""
    vocabulary = compiled.vocab_size
    for tokens in (2, FEW + kernels.TOKENS):
        state, ids = eager.pool.open(tokens, None), [(at + 1) * STRIDE % vocabulary for at in range(tokens)]
        expected = eager.verify([state], [ids])
        found = compiled.verify([state], [ids])
        errors = relative_error(found, expected), relative_error(compiled.read(state, ids), expected[-1])
        if not max(errors) < ERROR:
            return False
    return True


def in_blocks(q: Tensor, size: int) -> Tensor:
    """Return the weights (n, k) with four inputs of `size` outputs side by side, padded to whole blocks."""
    if size == 1:
        return q
    n, k = q.shape
    return pad(q, (0, 0, 0, -n % size)).reshape(-1, size, k // 4, 4).transpose(1, 2).contiguous()


class CompiledLlama:
    """The weights of a model, as the kernels take them."""

    def __init__(self, library: CDLL, weights: LlamaWeights, pool: KVPool, cos: Tensor, sin: Tensor) -> None:
        self._library, self._weights, self._pool = library, weights, pool
        self._block = kernels.integer.in_dll(library, "mark_block").value
        self._kept: list[Tensor] = []
        self._threads = Threads(torch.get_num_threads(), library.mark_threads)
        self.vocab_size = weights.head.outputs
        dims, first = weights.dims, weights.layers[0]
        self._widths = Widths(
            *(first.qkv.inputs, dims.heads, dims.head_dim),
            output=max(first.qkv.outputs, first.gate_up.outputs),
            input=max(first.qkv.inputs, first.out.inputs, first.down.inputs),
        )
        layers = (kernels.Layer * len(weights.layers))(*map(self._layer, weights.layers))
        self._model = kernels.Model(
            *(
                len(weights.layers),
                first.qkv.inputs,
                dims.heads,
                dims.kv_heads,
                dims.head_dim,
                first.down.inputs,
            ),
            dims.eps,
            layers,
            *(self._keep(each) for each in (cast(Tensor, weights.embedding), weights.norm, cos, sin)),
            self._matrix(weights.head),
        )

    def read(self, state: KVState, ids: Sequence[int]) -> Tensor:
        """Read `ids` and return the logits after the last of them, float32 (v,)."""
        with self._threads.computing(len(ids), reading=True) as threads:
            rows = Work(self._widths, self._pool, [state], [ids], threads, wanted=1)
            return self._stages(rows, reading=True)[0]  # few tokens too: the same in chunks of any size

    def verify(self, states: Sequence[KVState], ids: Sequence[Sequence[int]]) -> Tensor:
        """Read some tokens for each state; return the logits after each, float32 (m, v)."""
        with self._threads.computing(sum(map(len, ids))) as threads:
            rows = Work(self._widths, self._pool, states, ids, threads)
            return self._step(rows) if rows.m <= FEW else self._stages(rows)

    def _step(self, rows: Work) -> Tensor:
        logits = torch.empty(rows.wanted, self.vocab_size)
        self._library.mark_step(byref(self._model), byref(rows.struct), logits.data_ptr())
        return logits

    def _stages(self, rows: Work, *, reading: bool = False) -> Tensor:
        """Do the same for many rows; those of one sequence that is only read meet its keys together."""
        call, model, struct = self._library, byref(self._model), byref(rows.struct)
        call.mark_embed(model, struct)
        y = rows.y
        for at, layer in enumerate(self._weights.layers):
            call.mark_enter(model, struct, y.data_ptr(), int(at == 0), layer.attention_norm.data_ptr())
            y = layer.qkv.multiply(rows.input(layer.qkv))
            call.mark_place(model, struct, at, y.data_ptr())
            (call.mark_read if reading else call.mark_attend)(model, struct, at, y.data_ptr())
            y = layer.out.multiply(rows.input(layer.out))
            call.mark_enter(model, struct, y.data_ptr(), 0, layer.mlp_norm.data_ptr())
            y = layer.gate_up.multiply(rows.input(layer.gate_up))
            call.mark_gate(model, struct, y.data_ptr())
            y = layer.down.multiply(rows.input(layer.down))
        call.mark_enter(model, struct, y.data_ptr(), 0, self._weights.norm.data_ptr())
        return self._logits(rows)

    def _logits(self, rows: Work) -> Tensor:
        head = self._model.head
        logits = torch.empty(rows.wanted, self.vocab_size)
        a = rows.input(self._weights.head)[-rows.wanted :]
        self._library.mark_product(
            byref(head), byref(rows.struct), rows.wanted, a.data_ptr(), logits.data_ptr()
        )
        return logits.mul_(rows.s[-rows.wanted :, None])

    def _layer(self, layer: Layer) -> kernels.Layer:
        norms = layer.qk_norms or (None, None)
        vectors = (layer.attention_norm, layer.mlp_norm, layer.qkv_bias, *norms)
        matrices = (layer.qkv, layer.out, layer.gate_up, layer.down)
        kept = (each if each is None else self._keep(each) for each in vectors)
        return kernels.Layer(*kept, *map(self._matrix, matrices))

    def _matrix(self, linear: Linear) -> kernels.Matrix:
        *others, q = linear.packed
        if q.ndim == 2:  # only the kernels read it, and one copy is enough
            q = in_blocks(q, self._block)
            linear.packed = (*others, q)
        offset = q.sum((1, 3) if q.ndim == 4 else 1, dtype=torch.int32) * ZERO
        return kernels.Matrix(
            *(self._keep(each) for each in (q, linear.packed[1], offset)),
            *(linear.outputs, linear.inputs),
        )

    def _keep(self, tensor: Tensor) -> int:
        """Return where `tensor` is, and see that it stays there."""
        self._kept.append(tensor.contiguous())
        return self._kept[-1].data_ptr()
