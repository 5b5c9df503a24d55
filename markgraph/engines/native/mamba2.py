"""Mamba-2 (Dao & Gu 2024, https://arxiv.org/abs/2405.21060), with the gate before the norm.

Shapes: m rows (tokens), d hidden, e channels, g groups, n numbers of state a channel, k taps.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from markgraph.engines.native.load_recurrent import Block, load_recurrent
from markgraph.engines.native.recurrent import Projection, RecurrentDecoder, Rows
from markgraph.engines.native.scans import Inputs, Scans, scans_for


def load_mamba2(folder: Path, mode: str) -> RecurrentDecoder:
    """Return the decoder of a Mamba-2 checkpoint, Codestral Mamba's among them."""
    return load_recurrent(folder, mode, _mixer, _shapes)


def _shapes(config: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    width, groups, n = config.num_heads * config.head_dim, config.n_groups, config.state_size
    return (config.conv_kernel - 1, width + 2 * groups * n), (groups, n, width // groups)


def _mixer(block: Block) -> "Mamba2":
    config = block.config
    weight, bias = block.convolution()
    low, high = config.time_step_limit
    rest, steps = slice(0, -config.num_heads), slice(-config.num_heads, None)
    entry_bias, dt_bias = block.bias("mixer.in_proj"), block["mixer.dt_bias"]
    return Mamba2(
        enter=block.projection("mixer.in_proj", rest),
        dt=block["mixer.in_proj.weight"][steps].clone(),
        taps=weight,
        taps_bias=bias,
        dt_bias=dt_bias if entry_bias is None else dt_bias + entry_bias[steps],
        dt_limit=(float(low), float(high)),
        A=-block["mixer.A_log"].exp(),
        D=block["mixer.D"].repeat_interleave(config.head_dim),
        gain=block["mixer.norm.weight"],
        leave=block.projection("mixer.out_proj"),
        groups=config.n_groups,
        state_size=config.state_size,
        eps=config.layer_norm_epsilon,
        scans=scans_for([config.head_dim, weight.shape[1]], config.state_size),
    )


@dataclass(frozen=True)
class Mamba2:
    """The block of figure 6 in the paper (right)."""

    enter: Projection
    """d to 2e + 2gn: the gate, and what is convolved: the channels, B and C."""
    dt: Tensor
    """(heads, d), float32 in every mode"""
    taps: Tensor
    """(k, e + 2gn)"""
    taps_bias: Tensor
    dt_bias: Tensor
    """(heads,)"""
    dt_limit: tuple[float, float]
    """The least and the largest dt."""
    A: Tensor
    """(heads,), negative"""
    D: Tensor
    """(e,)"""
    gain: Tensor
    """Of the norm, (e,)."""
    leave: Projection
    groups: int
    state_size: int
    eps: float
    """Added under the root of the norm."""
    scans: Scans

    def __call__(self, x: Tensor, rows: Rows) -> Tensor:
        """Return what is added to the residual stream, (m, d)."""
        e, shared = len(self.D), self.groups * self.state_size
        gate, mixed = torch.split(self.enter(x), [e, e + 2 * shared], -1)
        mixed = self.scans.convolve(rows.windows, rows.lengths, mixed, self.taps, self.taps_bias)
        u, B, C = torch.split(mixed, [e, shared, shared], -1)  # noqa: N806
        dt = softplus(linear(x, self.dt, self.dt_bias)).clamp(*self.dt_limit)
        inputs = Inputs(u, dt, B, C, gate)
        return self.leave(self._norm(self.scans.ssd(rows.hiddens, rows.lengths, inputs, self.A, self.D)))

    def _norm(self, y: Tensor) -> Tensor:
        """Scale the channels of each group to a root mean square of 1."""
        y = y.reshape(len(y), self.groups, -1)
        return (y * (y.pow(2).mean(-1, keepdim=True) + self.eps).rsqrt()).flatten(-2).mul_(self.gain)
