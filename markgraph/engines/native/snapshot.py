"""Snapshots of sequences' states, and the memory that holds those used last."""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from markgraph.engines.native.decoder import Snapshot


@dataclass
class TensorSnapshot:
    """Tensors that nobody writes to: a decoder copies out of them when it restores a state."""

    start: int
    """The tokens before this one are not in it."""
    end: int
    tensors: Mapping[str, torch.Tensor]

    @cached_property
    def nbytes(self) -> int:
        """Return its size in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


class Prefix(NamedTuple):
    """The beginning of a sequence, by its content."""

    root: bytes
    """Hash of whose it is, and of the adapter that reads it."""
    key: bytes
    """Hash of that and of its tokens."""
    end: int
    """How many tokens it has."""


class SnapshotStore:
    """Snapshots by prefix, at most so many bytes, the least recently used dropped first.

    Prefixes that build on one another are touched together, so that the longer one always goes first.
    """

    def __init__(self, max_bytes: int) -> None:
        """Make an empty store; with `max_bytes` of 0 it stays empty."""
        self.nbytes = 0
        self.evictions = 0
        self._max_bytes = max_bytes
        self._snapshots: OrderedDict[Prefix, Snapshot] = OrderedDict()
        self._lengths: defaultdict[bytes, Counter[int]] = defaultdict(Counter)

    def __contains__(self, prefix: Prefix) -> bool:
        """Tell whether there is a snapshot of `prefix`."""
        return prefix in self._snapshots

    def get(self, prefix: Prefix) -> Snapshot | None:
        """Return the snapshot of `prefix`, if there is one."""
        return self._snapshots.get(prefix)

    def lengths(self, root: bytes) -> set[int]:
        """Return the lengths of the prefixes with this root."""
        return set(self._lengths.get(root, ()))

    def add(self, prefix: Prefix, snapshot: Snapshot, spare: Collection[Prefix]) -> bool:
        """Keep a snapshot that is not there yet, if there can be room without dropping one of `spare`."""
        while self.nbytes + snapshot.nbytes > self._max_bytes:
            oldest = next(iter(self._snapshots), None)
            if oldest is None or oldest in spare or snapshot.nbytes > self._max_bytes:
                return False
            self._drop(oldest)
        self._snapshots[prefix] = snapshot
        self._lengths[prefix.root][prefix.end] += 1
        self.nbytes += snapshot.nbytes
        return True

    def touch(self, prefixes: Iterable[Prefix]) -> None:
        """Take note that these were used now; each must build on those before it."""
        for prefix in reversed(list(prefixes)):
            if prefix in self._snapshots:
                self._snapshots.move_to_end(prefix)

    def _drop(self, prefix: Prefix) -> None:
        self.nbytes -= self._snapshots.pop(prefix).nbytes
        self.evictions += 1
        lengths = self._lengths[prefix.root]
        lengths[prefix.end] -= 1
        if not lengths[prefix.end]:
            del lengths[prefix.end]
        if not lengths:
            del self._lengths[prefix.root]
