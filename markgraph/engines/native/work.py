"""The rows of one step, as the kernels take them, and the room that they compute in."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from markgraph.engines.native import kernels
from markgraph.engines.native.kv import KVPool, KVState
from markgraph.engines.native.linear import Linear


class Widths(NamedTuple):
    """What a row takes."""

    hidden: int
    heads: int
    head_dim: int
    output: int
    """The widest product's."""
    input: int
    """The widest product's."""


class Work:
    """Some tokens of some sequences, one a row."""

    def __init__(
        self,
        widths: Widths,
        pool: KVPool,
        states: Sequence[KVState],
        ids: Sequence[Sequence[int]],
        threads: int,
        wanted: int | None = None,
    ) -> None:
        each = list(zip(states, ids, strict=True))
        seen = [state.length + n for state, some in each for n in range(1, len(some) + 1)]
        parts = list(accumulate(-(-n // kernels.TOKENS) for n in seen))
        tokens = [token for some in ids for token in some]
        first = [state.offset for state, some in each for _ in some]
        self.m = len(tokens)
        self.wanted = self.m if wanted is None else wanted
        """Rows at the end whose logits are asked for."""
        self._table = torch.tensor([tokens, first, seen, parts])
        self.x = torch.empty(self.m, widths.hidden)
        self.y = torch.empty(self.m, widths.output)
        self.mixed = torch.empty(self.m, widths.heads * widths.head_dim)
        self.s = torch.empty(self.m)
        self._part = torch.empty(parts[-1], widths.heads, widths.head_dim + 2)
        self._a = torch.empty(self.m * widths.input, dtype=torch.uint8)
        self.struct = kernels.Rows(
            *(self.m, threads, self.wanted),
            *(row.data_ptr() for row in self._table),
            *(pool.all_keys.data_ptr(), pool.all_values.data_ptr(), pool.slots),
            *(room.data_ptr() for room in (self.x, self.y, self.mixed, self._part, self._a, self.s)),
        )

    def input(self, linear: Linear) -> Tensor:
        """Return what was prepared for `linear`, bytes (m, k)."""
        return self._a[: self.m * linear.inputs].view(self.m, linear.inputs)
