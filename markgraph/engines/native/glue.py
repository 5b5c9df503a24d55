"""What stands between the matrix products of a Llama-kind layer, as functions that can be compiled.

Each takes a product `y` with the scale `s` that the form's `prepare` gave, and ends with what the next
product takes. Shapes: m rows (tokens), d hidden, h heads, g key-value heads, e head size.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from markgraph.engines.native.linear import Form


class Prepared(NamedTuple):
    """The input of a matrix product."""

    a: Tensor
    """As the form multiplies it, (m, k)."""
    s: Tensor
    """What the product has to be scaled by, (m, 1) or (1, 1)."""
    h: Tensor
    """As it was, float32 (m, k): adapters start from it."""


class Dims(NamedTuple):
    """What the functions must know of a model."""

    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    """Added under the root of the norms."""


def prepared(form: Form, h: Tensor) -> Prepared:
    """Return `h` as the next product takes it."""
    return Prepared(*form.prepare(h), h)


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """Scale each row to a root mean square of 1 (Zhang & Sennrich 2019)."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * gain


def enter(form: Form, dims: Dims, x: Tensor, y: Tensor, s: Tensor, gain: Tensor) -> tuple[Tensor, Prepared]:
    """Add a product to the residual stream `x` (m, d), and prepare its norm for the next one."""
    x = x + y * s
    return x, prepared(form, rms_norm(x, gain, dims.eps))


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each head by its position (RoPE, Su et al. 2021): x (m, h, e), cos and sin (m, e)."""
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * cos[:, None] + turned * sin[:, None]


def attention_inputs(
    dims: Dims,
    y: Tensor,
    s: Tensor,
    bias: Tensor | None,
    norms: tuple[Tensor, Tensor] | None,
    cos: Tensor,
    sin: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries (m, h, e), keys and values (m, g, e) from one product (m, (h + 2g) e)."""
    y = y * s
    if bias is not None:
        y = y + bias
    q, k, v = y.view(len(y), -1, dims.head_dim).split((dims.heads, dims.kv_heads, dims.kv_heads), 1)  # type: ignore[no-untyped-call]
    if norms is not None:
        q, k = rms_norm(q, norms[0], dims.eps), rms_norm(k, norms[1], dims.eps)
    return rotary(q, cos, sin), rotary(k, cos, sin), v


def gated(form: Form, y: Tensor, s: Tensor) -> Prepared:
    """Return SwiGLU (Shazeer 2020) of a product that holds gate and value side by side, (m, 2f) to (m, f)."""
    gate, value = (y * s).chunk(2, -1)
    return prepared(form, torch.nn.functional.silu(gate) * value)
