"""Keys and values of many sequences in one pool: each has a run of slots to itself."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

GRANULE = 64
"""Slots are handed out in multiples of this, so that a freed run fits the next sequence more often."""


@dataclass(frozen=True)
class KVSnapshot:
    """Keys and values of the tokens from `start` to `end`."""

    start: int
    end: int
    tensors: dict[str, Tensor]
    """`keys` and `values`, each (layers, tokens, kv_heads, head_dim)."""

    @property
    def nbytes(self) -> int:
        """Return its size in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())


class KVState:
    """One sequence's run of slots; it goes back to the pool with the last reference."""

    def __init__(self, pool: "KVPool", offset: int, capacity: int, adapter: str | None) -> None:
        self.pool, self.offset, self.capacity, self.adapter = pool, offset, capacity, adapter
        self.length = 0

    @property
    def nbytes(self) -> int:
        """Return the memory that is reserved for it, in bytes."""
        return self.pool.bytes_for(self.capacity)

    def __del__(self) -> None:
        # The last reference may go on any thread, so the pool takes the run back when it next opens one.
        self.pool.returned.append((self.offset, self.capacity))


class KVPool:
    """Keys and values, (slots, kv_heads, head_dim) for each layer, grown when no free run is long enough."""

    def __init__(self, layers: int, kv_heads: int, head_dim: int, dtype: torch.dtype) -> None:
        self._shape, self._dtype = (layers, 0, kv_heads, head_dim), dtype
        self.keys: Sequence[Tensor] = ()
        """A layer's, (slots, kv_heads, head_dim), in `all_keys` (layers, slots, kv_heads, head_dim)."""
        self.values: Sequence[Tensor] = ()
        self.all_keys = self.all_values = torch.zeros(self._shape, dtype=dtype)
        self._free: list[tuple[int, int]] = []
        self.returned: deque[tuple[int, int]] = deque()
        """Runs that nobody refers to any more."""

    @property
    def slots(self) -> int:
        """Return how many tokens the pool has room for."""
        return self.all_keys.shape[1]

    def bytes_for(self, capacity: int) -> int:
        """Return what a sequence of `capacity` tokens takes, in bytes."""
        layers, _, heads, dim = self._shape
        return 2 * layers * _rounded(capacity) * heads * dim * self._dtype.itemsize

    def open(self, capacity: int, adapter: str | None = None) -> KVState:
        """Return an empty state with room for `capacity` tokens."""
        capacity = _rounded(capacity)
        while self.returned:
            self._join(*self.returned.popleft())
        if self._free == [(0, self.slots)] and self.slots > 4 * capacity:
            self._free = []  # nobody is in: what a busy time has needed goes back
            self._resize(0)
        for at, (offset, size) in enumerate(self._free):
            if size >= capacity:
                self._free[at : at + 1] = [(offset + capacity, size - capacity)] * (size > capacity)
                return KVState(self, offset, capacity, adapter)
        self._grow(capacity)
        return self.open(capacity, adapter)

    def _join(self, offset: int, capacity: int) -> None:
        """Take a run of slots back, and join it with its free neighbours."""
        runs: list[tuple[int, int]] = []
        for start, size in sorted([*self._free, (offset, capacity)]):
            if runs and sum(runs[-1]) == start:
                start, size = runs[-1][0], runs.pop()[1] + size
            runs.append((start, size))
        self._free = runs

    def save(self, state: KVState, start: int) -> KVSnapshot:
        """Return a copy of what the tokens from `start` on have added."""
        run = slice(state.offset + start, state.offset + state.length)
        tensors = {"keys": self.all_keys[:, run].clone(), "values": self.all_values[:, run].clone()}
        return KVSnapshot(start, state.length, tensors)

    def restore(self, state: KVState, tensors: Sequence[tuple[int, int, Tensor, Tensor]]) -> None:
        """Fill `state` from (start, end, keys, values), one after the other."""
        for start, end, keys, values in tensors:
            run = slice(state.offset + start, state.offset + end)
            self.all_keys[:, run], self.all_values[:, run] = keys, values
            state.length = end

    def _grow(self, capacity: int) -> None:
        """Make room for `capacity` more: at least half as much again, so that growing stays rare."""
        before = self.slots
        self._resize(before + max(capacity, before // 2))
        self._join(before, self.slots - before)

    def _resize(self, slots: int) -> None:
        layers, _, heads, dim = self._shape
        keys, values = (torch.zeros(layers, slots, heads, dim, dtype=self._dtype) for _ in range(2))
        kept = min(slots, self.slots)
        keys[:, :kept], values[:, :kept] = self.all_keys[:, :kept], self.all_values[:, :kept]
        self.all_keys, self.all_values = keys, values
        self.keys, self.values = keys.unbind(0), values.unbind(0)


def _rounded(capacity: int) -> int:
    return -(-capacity // GRANULE) * GRANULE
