"""Mamba (Gu & Dao 2023, https://arxiv.org/abs/2312.00752), and FalconMamba, which norms dt, B and C.

Shapes: m rows (tokens), d hidden, e channels, r rank of dt, n numbers of state a channel, k taps.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from markgraph.engines.native.glue import rms_norm
from markgraph.engines.native.load_recurrent import Block, load_recurrent
from markgraph.engines.native.recurrent import Projection, RecurrentDecoder, Rows
from markgraph.engines.native.scans import Inputs, Scans, scans_for


def load_mamba(folder: Path, mode: str) -> RecurrentDecoder:
    """Return the decoder of a Mamba or FalconMamba checkpoint."""
    return load_recurrent(folder, mode, _mixer, _shapes)


def _shapes(config: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    width = config.intermediate_size
    return (config.conv_kernel - 1, width), (config.state_size, width)


def _mixer(block: Block) -> "Mamba":
    config = block.config
    weight, bias = block.convolution()
    return Mamba(
        enter=block.projection("mixer.in_proj"),
        taps=weight,
        taps_bias=bias,
        select=block["mixer.x_proj.weight"],
        dt=block["mixer.dt_proj.weight"],
        dt_bias=block["mixer.dt_proj.bias"],
        A=-block["mixer.A_log"].exp().t().contiguous(),
        D=block["mixer.D"],
        leave=block.projection("mixer.out_proj"),
        norm_eps=config.mixer_rms_eps if config.model_type == "falcon_mamba" else None,
        scans=scans_for([config.intermediate_size], config.state_size),
    )


@dataclass(frozen=True)
class Mamba:
    """The block of figure 3 in the paper. What decides about dt, B and C stays in float32 in every mode."""

    enter: Projection
    """d to 2e: the channels, and their gate."""
    taps: Tensor
    """(k, e)"""
    taps_bias: Tensor
    select: Tensor
    """(r + 2n, e): dt, B and C from the channels."""
    dt: Tensor
    """(e, r)"""
    dt_bias: Tensor
    A: Tensor
    """(n, e), negative"""
    D: Tensor
    """(e,)"""
    leave: Projection
    norm_eps: float | None
    """Added under the root of the norms of dt, B and C; None where there are none."""
    scans: Scans

    def __call__(self, x: Tensor, rows: Rows) -> Tensor:
        """Return what is added to the residual stream, (m, d)."""
        u, gate = self.enter(x).chunk(2, -1)  # (m, e)
        u = self.scans.convolve(rows.windows, rows.lengths, u, self.taps, self.taps_bias)
        n = len(self.A)
        parts = torch.split(linear(u, self.select), [self.dt.shape[1], n, n], -1)
        dt, B, C = parts if self.norm_eps is None else map(self._normed, parts)  # noqa: N806
        dt = softplus(linear(dt, self.dt, self.dt_bias))  # (m, e)
        inputs = Inputs(u, dt, B, C, gate)
        return self.leave(self.scans.selective(rows.hiddens, rows.lengths, inputs, self.A, self.D))

    def _normed(self, x: Tensor) -> Tensor:
        return rms_norm(x, torch.ones(()), self.norm_eps or 0.0)
