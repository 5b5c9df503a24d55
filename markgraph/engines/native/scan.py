"""The recurrences of Mamba and Mamba-2, over many tokens of one sequence and over one token of many.

Mamba (Gu & Dao 2023, https://arxiv.org/abs/2312.00752, Algorithm 2) keeps, for each channel, a state of
n numbers that decays and takes in what it reads:

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t        y_t = C_t h_t

Mamba-2 (Dao & Gu 2024, https://arxiv.org/abs/2405.21060) lets all channels of a head share one decay, so
that a chunk of tokens becomes matrix products ("SSD", section 6 there).

Shapes: b sequences, l tokens, e channels (the paper's E D), n numbers of state a channel, g groups that
share B and C, h heads of p channels, k taps of the convolution. A state lies as (n, e), its channels
side by side: products over n are then matrix products, and what is broadcast is broadcast over rows.

Does NOT include: D, the gate, dt's softplus. Everything is float32.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

CHUNK = 32
"""Tokens whose states `selective_scan` has in memory at once: as many as the processor's caches take well."""
BLOCK = 64
"""Tokens that `ssd_scan` turns into matrix products at once."""


def for_each(
    step: Callable[..., Tensor],
    scan: Callable[..., Tensor],
    kept: Sequence[Tensor],
    lengths: Sequence[int],
    rows: Sequence[Tensor],
    shared: Sequence[Tensor],
) -> Tensor:
    """Read some tokens of each of some sequences: one each with `step`, at once, more with `scan`, in turn.

    Args:
        step: takes what is kept of all sequences, side by side, and their rows.
        scan: takes what is kept of one sequence, and its rows.
        kept: what is kept of each sequence, changed in place.
        lengths: how many rows each sequence has.
        rows: tensors (m, ...), the sequences one after another.
        shared: what is the same for all of them.
    """
    if any(length > 1 for length in lengths):
        parts = zip(kept, *(torch.split(tensor, list(lengths)) for tensor in rows), strict=True)
        return torch.cat([scan(own, *each, *shared) for own, *each in parts])
    if len(kept) == 1:
        return step(kept[0][None], *rows, *shared)
    together = torch.stack(list(kept))
    y = step(together, *rows, *shared)
    for own, new in zip(kept, together, strict=True):
        own.copy_(new)
    return y


def selective_scan(h: Tensor, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor) -> Tensor:  # noqa: N803
    """Read l tokens of one sequence; `h`, (n, e), goes on from what it holds, and is left at the last.

    Args:
        h: the state, changed in place.
        x: (l, e), as are `dt` and the result.
        dt: how long a step is, positive.
        B: (l, n).
        C: (l, n).
        A: (n, e), negative.
    """
    y = torch.empty_like(x)
    size = min(CHUNK, len(x))
    decays, states = (x.new_empty(size, *h.shape) for _ in range(2))  # (size, n, e)
    for begin in range(0, len(x), size):
        rows = slice(begin, begin + size)
        step = dt[rows]
        decay, state = decays[: len(step)], states[: len(step)]
        torch.mul(step[:, None], A, out=decay).exp_()
        torch.mul((step * x[rows])[:, None], B[rows, :, None], out=state)
        before = h
        for now, kept in zip(state.unbind(), decay.unbind(), strict=True):
            before = now.addcmul_(kept, before)
        h.copy_(before)
        torch.bmm(C[rows, None], state, out=y[rows, None])
    return y


def selective_step(h: Tensor, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor) -> Tensor:  # noqa: N803
    """Read one token of each of b sequences: `h` (b, n, e), changed in place; x, dt (b, e); B, C (b, n)."""
    h.mul_((dt[:, None] * A).exp_()).addcmul_((dt * x)[:, None], B[..., None])
    return (C[:, None] @ h).squeeze(1)  # (b, e)


def ssd_scan(h: Tensor, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor) -> Tensor:  # noqa: N803
    """Read l tokens of one sequence; `h`, (g, n, e / g), goes on from what it holds, and is left at the last.

    Args:
        h: the state, changed in place.
        x: (l, e), as is the result; the channels of a head side by side, and the heads of a group.
        dt: how long a step is, (l, heads), positive.
        B: (l, g, n).
        C: (l, g, n).
        A: (heads,), negative.
    """
    blocks = zip(*(torch.split(tensor, BLOCK) for tensor in (x, dt, B, C)), strict=True)
    return torch.cat([_ssd_block(h, x, dt, B, C, A) for x, dt, B, C in blocks])


def _ssd_block(h: Tensor, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor) -> Tensor:  # noqa: N803
    """Read the tokens of one block: within it as masked attention, from before it through the state."""
    (tokens, heads), groups = dt.shape, len(h)
    age = (dt * A).cumsum(0)  # (l, heads); all logarithms of decays, from before the block to each token
    decay = (age.t()[:, :, None] - age.t()[:, None]).exp_().tril_()  # (heads, l, s), from token s to token l
    B, C = B.transpose(0, 1), C.transpose(0, 1)  # (g, l, n)  # noqa: N806
    scores = (C @ B.transpose(1, 2))[:, None] * decay.reshape(
        groups, -1, tokens, tokens
    )  # (g, heads / g, l, s)
    taken = x.reshape(tokens, heads, -1) * dt[..., None]  # (l, heads, p)
    within = (scores.flatten(0, 1) @ taken.transpose(0, 1)).transpose(0, 1)  # (l, heads, p)
    from_before = (C @ h).transpose(0, 1).reshape(tokens, heads, -1)  # (l, heads, p)
    y = torch.addcmul(within, from_before, age.exp()[..., None])
    left = taken * (age[-1] - age).exp_()[..., None]  # (l, heads, p), as much as the end of the block sees
    h.mul_(age[-1].exp().repeat_interleave(left.shape[-1]).reshape(groups, 1, -1))
    h.baddbmm_(B.transpose(1, 2), left.reshape(tokens, groups, -1).transpose(0, 1))
    return y.reshape(tokens, -1)


def ssd_step(h: Tensor, x: Tensor, dt: Tensor, B: Tensor, C: Tensor, A: Tensor) -> Tensor:  # noqa: N803
    """Read one token of each of b sequences: `h` (b, g, n, e / g), changed in place.

    x is (b, e), dt (b, heads), B and C (b, g, n); returns (b, e).
    """
    p, by_group = x.shape[1] // len(A), (*h.shape[:2], 1, h.shape[3])
    decay = (dt * A).exp_().repeat_interleave(p, 1).reshape(by_group)
    taken = (x.reshape(len(x), -1, p) * dt[..., None]).reshape(by_group)
    h.mul_(decay).addcmul_(taken, B[..., None])
    return (C[:, :, None] @ h).reshape(x.shape)


def convolve_scan(window: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the causal convolution of each channel over l tokens of one sequence, (l, e).

    Args:
        window: the k - 1 inputs before, (k - 1, e), changed in place to the last ones.
        x: (l, e)
        weight: (k, e)
        bias: (e,)
    """
    whole = torch.cat([window, x])  # (k - 1 + l, e)
    window.copy_(whole[len(x) :])
    y = torch.addcmul(bias, whole[: len(x)], weight[0])
    for tap in range(1, len(weight)):
        y.addcmul_(whole[tap : tap + len(x)], weight[tap])
    return y


def convolve_step(window: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Do the same for one token of each of b sequences: `window` (b, k - 1, e), x and the result (b, e)."""
    whole = torch.cat([window, x[:, None]], 1)  # (b, k, e)
    window.copy_(whole[:, 1:])
    return (whole * weight).sum(1) + bias
