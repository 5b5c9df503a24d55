"""Attention of a stretch of one sequence to all of it, with torch's own kernel."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return causal attention (m, h e) of the last m of t tokens: q (m, h, e) over k and v (t, g, e)."""
    m, t = q.shape[0], k.shape[0]
    queries, keys, values = (x.transpose(0, 1)[None] for x in (q.to(k.dtype), k, v))  # (1, h or g, m or t, e)
    found = scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=torch.ones(m, t, dtype=torch.bool).tril(t - m) if 1 < m < t else None,
        is_causal=m == t > 1,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return found[0].transpose(0, 1).reshape(m, -1).float()
