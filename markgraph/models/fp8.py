"""Linear layers in 8-bit floating point, for GPUs that multiply it: weights by row, activations by token.

One scale for all activations would ruin the model, and let one request change another's answer.
Source: FP8 formats for deep learning, Micikevicius et al. 2022 (E4M3 for the forward pass).

Does NOT include: training; kernels from a hub, which run code that nobody here has seen.
"""

from typing import Any

import torch
from torch.nn.functional import ScalingType, scaled_mm

LARGEST = 448.0
"""The largest number that E4M3 holds."""
_MULTIPLE = 16
"""The matrix units take sides of this many only."""


class Fp8Linear(torch.nn.Module):
    """A linear layer whose weight takes one byte a parameter. Shapes: x (..., k), weight (n, k)."""

    weight: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        weight, scale = _quantised(linear.weight.detach())
        self.register_buffer("weight", weight)  # (n, k)
        self.register_buffer("scale", scale.t().contiguous())  # (1, n)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` through the layer, in the dtype of `x`."""
        rows, scale = _quantised(x.reshape(-1, x.shape[-1]))  # (m, k), (m, 1)
        by_row = ScalingType.RowWise
        y = scaled_mm(
            rows, self.weight.t(), scale, by_row, self.scale, by_row, output_dtype=torch.bfloat16
        ).to(x.dtype)
        return (y if self.bias is None else y + self.bias).reshape(*x.shape[:-1], -1)


def to_fp8(model: Any) -> None:
    """Replace the linear layers of `model`, except its head, whose errors go straight into the answer."""
    head = model.get_output_embeddings()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            fits = isinstance(child, torch.nn.Linear) and not any(
                side % _MULTIPLE for side in child.weight.shape
            )
            if fits and child is not head:
                setattr(module, name, Fp8Linear(child))


def _quantised(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `rows` (m, k) in E4M3, and what to multiply each by, float32 (m, 1)."""
    values = rows.float()
    scale = values.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / LARGEST
    return (values / scale).to(torch.float8_e4m3fn), scale
