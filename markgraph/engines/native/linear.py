"""A linear layer in the forms that it is served in, and which form serves.

A form splits the work in three, so that what surrounds the multiplication can be fused with it:
`prepare` brings the input into the form's own terms, `multiply` is the matrix product, and the caller
scales its result by what `prepare` gave. Every form treats the rows of its input alone: the result for
one does not depend on the others.

    float32    the reference
    float32-onednn
               the same, laid out for oneDNN
    bfloat16   where the processor has units for it
    int8       int8 weights, one scale an output; int8 inputs, one scale a row. Both sides are turned
               by a small Hadamard matrix first, which spreads outliers (QuaRot, Ashkboos et al. 2024)
    int8-rows  int8 weights, one scale an output; inputs as they are
    int4       int4 weights, one scale a group of 32; inputs as they are

Does NOT include: activation scales per tensor. They ruin a model, and let a row's result depend on others.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

GROUP = 32
"""Weights that share a scale in `int4`."""
SPREAD = 16
"""Order of the Hadamard matrix that `int8` turns its inputs by: larger ones gained nothing."""
LEVELS = 127
"""Largest magnitude of an int8 value; -128 is not used, so that the range is symmetric."""
ZERO = 128
"""What stands for 0 in unsigned bytes: oneDNN multiplies u8 by s8 quickly on every processor with VNNI."""
TILE = 64
"""Rows of an `int4` weight that are packed together, on every processor."""
PART = 4096
"""Rows of a weight that are quantised at a time, so that no float32 copy of a large one is made."""
DEQUANTISE_FROM = 128
"""Rows from which `int4` weights are unpacked once, and multiplied as bfloat16: more than answers have,
so that no token depends on how many are computed with it."""


class Form(Protocol):
    """How the weights of a linear layer are kept and multiplied."""

    @property
    def name(self) -> str:
        """Return the key in `FORMS`."""

    def pack(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Return what is kept of `weight`, float32 (n, k)."""

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return `x` (m, k) as `multiply` takes it, and the scale of the result, (m, 1) or (1, 1)."""

    def multiply(self, a: Tensor, packed: tuple[Tensor, ...]) -> Tensor:
        """Return the product, float32 (m, n), still to be scaled."""


@dataclass(frozen=True)
class Float32:
    """Weights as they are."""

    name: str = "float32"

    def pack(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Keep a copy of the weight."""
        return (weight.to(torch.float32, copy=True).contiguous(),)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take the input as it is."""
        return x, x.new_ones(1, 1)

    def multiply(self, a: Tensor, packed: tuple[Tensor, ...]) -> Tensor:
        """Multiply in float32."""
        return torch.nn.functional.linear(a, packed[0])


@dataclass(frozen=True)
class Float32OneDnn:
    """Weights in oneDNN's own layout: one row of input takes a third of the time, a prompt a fifth less."""

    name: str = "float32-onednn"

    def pack(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Lay the weight out anew."""
        return (torch.ops.mkldnn._reorder_linear_weight(weight.float().contiguous(), None),)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Take the input as it is."""
        return x, x.new_ones(1, 1)

    def multiply(self, a: Tensor, packed: tuple[Tensor, ...]) -> Tensor:
        """Multiply in float32."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(a, packed[0], None, "none", [], "")
        return product


@dataclass(frozen=True)
class Bfloat16:
    """Weights and inputs rounded to 8 bits of mantissa; sums are float32 inside the product."""

    name: str = "bfloat16"

    def pack(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Round the weight."""
        return (weight.to(torch.bfloat16, copy=True).contiguous(),)

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Round the input."""
        return x.bfloat16(), x.new_ones(1, 1)

    def multiply(self, a: Tensor, packed: tuple[Tensor, ...]) -> Tensor:
        """Multiply in bfloat16."""
        return torch.nn.functional.linear(a, packed[0]).float()


@dataclass(frozen=True)
class Int8:
    """Integers on both sides, so that sums are exact: the same for one row and for many, in any order."""

    name: str = "int8"

    def pack(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Return (packed for oneDNN, scales (n,), zero points (n,), int8 weight (n, k))."""
        parts = [quantise(spread(part.float())) for part in weight.split(PART)]  # type: ignore[no-untyped-call]
        q, scale = (torch.cat(each) for each in zip(*parts, strict=True))  # (n, k), (n, 1)
        packed = torch.ops.onednn.qlinear_prepack(q, None)
        return packed, scale.flatten(), torch.zeros(q.shape[0], dtype=torch.int64), q

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input as unsigned bytes (m, k), and each row's scale (m, 1)."""
        q, scale = quantise(spread(x))
        return (q.to(torch.int16) + ZERO).to(torch.uint8), scale

    def multiply(self, a: Tensor, packed: tuple[Tensor, ...]) -> Tensor:
        """Multiply bytes, and scale each output."""
        weight, scale, zeros = packed[:3]
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            a, 1.0, ZERO, weight, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product


@dataclass(frozen=True)
class Int8Rows:
    """Int8 weights alone, in rows that can be looked up too: one matrix is both embedding and head."""

    name: str = "int8-rows"

    def pack(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Return (int8 weight (n, k), scales (n,))."""
        parts = [quantise(part.float()) for part in weight.split(PART)]  # type: ignore[no-untyped-call]
        return torch.cat([q for q, _ in parts]), torch.cat([s for _, s in parts]).flatten().bfloat16()

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Round the input to bfloat16."""
        return x.bfloat16(), x.new_ones(1, 1)

    def multiply(self, a: Tensor, packed: tuple[Tensor, ...]) -> Tensor:
        """Unpack within the product."""
        return torch._weight_int8pack_mm(a, *packed).float()


@dataclass(frozen=True)
class Int4:
    """Half a byte a weight, and 2 bytes of scale for each 32 of them."""

    name: str = "int4"

    def pack(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Return (packed weight, scales and zeros (k / 32, n, 2))."""
        n, k = weight.shape
        groups = weight.float().reshape(n, k // GROUP, GROUP)
        low, high = groups.amin(-1), groups.amax(-1)  # (n, k / 32)
        scale = ((high - low) / 15).clamp_min(1e-8).bfloat16()
        # The kernel reads a weight as (q - 8) * scale + zero.
        zero = (low + 8 * scale.float()).bfloat16()
        q = ((groups - zero.float()[..., None]) / scale.float()[..., None] + 8).round().clamp(0, 15)
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q.to(torch.int32).reshape(n, k), 1)
        return packed, torch.stack([scale.t(), zero.t()], -1).contiguous()

    def prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Round the input to bfloat16."""
        return x.bfloat16(), x.new_ones(1, 1)

    def multiply(self, a: Tensor, packed: tuple[Tensor, ...]) -> Tensor:
        """Unpack within the product for a few rows, before it for many."""
        if a.shape[0] >= DEQUANTISE_FROM and packed[1].shape[1] % TILE == 0:
            return torch.nn.functional.linear(a, unpack_int4(packed, a.shape[1])).float()
        product: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(a, packed[0], GROUP, packed[1])
        return product.float()


BLOCKS = {"int8": SPREAD, "int4": GROUP}
"""What a form wants the inputs of a weight to be a multiple of."""
FORMS: dict[str, Form] = {
    form.name: form for form in (Float32(), Float32OneDnn(), Bfloat16(), Int8(), Int8Rows(), Int4())
}


class Linear:
    """Multiplies by one weight, kept in one form."""

    def __init__(self, weight: Tensor, form: Form) -> None:
        self.form = form
        self.outputs, self.inputs = weight.shape
        self.packed = form.pack(weight)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the product with `x`, float32 (m, k) to float32 (m, n)."""
        a, scale = self.form.prepare(x)
        return self.multiply(a) * scale

    def multiply(self, a: Tensor) -> Tensor:
        """Return the product with what `form.prepare` gave, still to be scaled, float32 (m, n)."""
        return self.form.multiply(a, self.packed)

    def rows(self, ids: Tensor) -> Tensor:
        """Return rows of an `int8-rows` weight, float32 (len(ids), k)."""
        q, scale = self.packed
        return q[ids].float() * scale[ids, None].float()

    @property
    def nbytes(self) -> int:
        """Return the memory that the weight takes, in bytes."""
        return sum(size_of(tensor) for tensor in self.packed)


def size_of(tensor: Tensor) -> int:
    """Return the bytes of a tensor, one in oneDNN's own layout included."""
    return tensor.numel() * tensor.element_size()


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return `x` (m, k) as int8, rounded, and the scale of each row, float32 (m, 1)."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-10) / LEVELS
    return (x / scale).round().to(torch.int8), scale


def spread(x: Tensor) -> Tensor:
    """Return `x` (m, k) with its 16 runs mixed by the Hadamard matrix; twice gives `x` again."""
    m, k = x.shape
    return (hadamard(SPREAD) @ x.reshape(m, SPREAD, k // SPREAD)).reshape(m, k)


def hadamard(order: int) -> Tensor:
    """Return the symmetric, orthogonal Hadamard matrix (Sylvester 1867) of `order`, a power of two."""
    matrix = torch.ones(1, 1)
    while matrix.shape[0] < order:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(order)


def unpack_int4(packed: tuple[Tensor, ...], k: int) -> Tensor:
    """Return the bfloat16 weight (n, k) of what `Int4.pack` returned; n is a multiple of 64."""
    codes, scales = packed
    n = scales.shape[1]
    halves = torch.stack([codes.flatten() & 15, codes.flatten() >> 4], -1)
    q = halves.reshape(n // TILE, TILE * k)[:, _unpacking(k)].reshape(n, k // GROUP, GROUP)
    scale, zero = scales.unbind(-1)  # (k / 32, n) each
    weight = (q.to(torch.bfloat16) - 8) * scale.t()[..., None] + zero.t()[..., None]
    return weight.reshape(n, k)


@lru_cache
def _unpacking(k: int) -> Tensor:
    """Return where, among the packed halves of a tile of 64 rows, each weight is, (64 * k).

    The kernel's layout differs from processor to processor, so it is asked: the index of each weight
    goes in, four bits at a time.
    """
    index = torch.arange(TILE * k, dtype=torch.int32)
    found = torch.zeros(TILE * k, dtype=torch.int64)
    for shift in range(0, 32, 4):
        digit = ((index >> shift) & 15).reshape(TILE, k)
        codes = torch.ops.aten._convert_weight_to_int4pack_for_cpu(digit, 1).flatten()
        found |= torch.stack([codes & 15, codes >> 4], -1).flatten().to(torch.int64) << shift
    return found.argsort()
