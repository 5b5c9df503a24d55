"""Decoders that compute nothing and remember what they read: enough for what keeps their states."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from markgraph.engines.native.decoder import Snapshot
from markgraph.engines.native.snapshot import TensorSnapshot


@dataclass
class Read:
    """A sequence's state: the tokens themselves."""

    ids: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        return 8 * len(self.ids)


class Recorder:
    """A decoder whose keys and values are its tokens: 2 layers of (1, tokens, 2), or all of them in one."""

    vocab_size = 1000
    window = 100_000

    def __init__(self, cumulative: bool) -> None:
        self.cumulative = cumulative

    def open(self, capacity: int, adapter: str | None = None) -> Read:
        return Read()

    def bytes_for(self, capacity: int) -> int:
        return 8 * capacity

    def read(self, state: Read, ids: Sequence[int]) -> torch.Tensor:
        state.ids.extend(ids)
        return torch.zeros(self.vocab_size)

    def step(self, states: Sequence[Read], ids: Sequence[int]) -> torch.Tensor:
        return torch.stack([self.read(state, [token]) for state, token in zip(states, ids, strict=True)])

    def verify(self, states: Sequence[Read], ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        return [
            torch.stack([self.read(state, [t]) for t in row]) for state, row in zip(states, ids, strict=True)
        ]

    def rewind(self, state: Read, length: int) -> None:
        del state.ids[length:]

    def save(self, state: Read, start: int) -> Snapshot:
        if self.cumulative:
            return TensorSnapshot(0, state.length, {"state": fingerprint(state.ids)})
        added = torch.tensor(state.ids[start:], dtype=torch.bfloat16).view(1, -1, 1).repeat(1, 1, 2)
        return TensorSnapshot(start, state.length, {"keys.0": added, "keys.1": added + 1})

    def restore(self, state: Read, snapshots: Sequence[Snapshot]) -> None:
        state.ids.extend(tokens_of(snapshots))


def fingerprint(ids: Sequence[int]) -> torch.Tensor:
    """Return a recurrent state of these tokens: 32 numbers, however many tokens there are."""
    out = torch.zeros(32, dtype=torch.float32)
    for place, token in enumerate(ids):
        out[place % 32] = out[place % 32] * 0.5 + token
    return out


def tokens_of(snapshots: Sequence[Snapshot]) -> list[int]:
    """Return the tokens whose keys these snapshots hold, one after another without a gap."""
    tokens: list[int] = []
    for snapshot in snapshots:
        assert snapshot.start == len(tokens)
        keys = snapshot.tensors["keys.0"]
        assert torch.equal(snapshot.tensors["keys.1"], keys + 1)
        tokens += [int(t) for t in keys[0, :, 0]]
        assert snapshot.end == len(tokens)
    return tokens
