"""What a Transformer of the Llama kind is made of, in the form that it is served in."""

from dataclasses import dataclass

from torch import Tensor

from markgraph.engines.native.glue import Dims
from markgraph.engines.native.linear import Form, Linear


@dataclass
class Layer:
    """One block's weights."""

    attention_norm: Tensor
    """(d,)"""
    qkv: Linear
    """d to (h + 2g) e: queries, keys, values."""
    out: Linear
    mlp_norm: Tensor
    gate_up: Linear
    """d to 2f: gate, then value."""
    down: Linear
    qkv_bias: Tensor | None = None
    qk_norms: tuple[Tensor, Tensor] | None = None
    """(e,) each."""


@dataclass
class LlamaWeights:
    """What is read from a checkpoint, in the form that it is served in."""

    embedding: Tensor | Linear
    """(v, d), or a matrix whose rows are looked up."""
    layers: list[Layer]
    norm: Tensor
    head: Linear
    dims: Dims
    inverse_frequencies: Tensor
    """(e / 2,)"""
    rotary_scale: float
    window: int
    form: Form
