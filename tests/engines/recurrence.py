"""A decoder whose state is one number, so that a test of the scheduler needs no model.

Its logits depend on every token read and on nothing else: whatever is read twice, left out, or mixed up
between two sequences shows in the tokens that follow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from markgraph.engines.native.snapshot import TensorSnapshot
from markgraph.errors import UsageError

PLACES = 997
START = 1


@dataclass
class History:
    past: list[int] = field(default_factory=lambda: [START])
    """The number before the first token, and after each."""
    nbytes: int = 0

    @property
    def length(self) -> int:
        return len(self.past) - 1


class Recurrence:
    """Reads tokens into a number modulo 997, each of which has random logits of its own."""

    window = 4096
    cumulative = True

    def __init__(self, vocab_size: int = 64, seed: int = 0, watch: Callable[[str, int], None] | None = None):
        self.vocab_size = vocab_size
        self.table = torch.randn(PLACES, vocab_size, generator=torch.Generator().manual_seed(seed))
        self.watch = watch or (lambda call, size: None)
        """Told what is called, and for how many sequences or tokens; may raise."""

    def bytes_for(self, capacity: int) -> int:
        return 10 * capacity

    def open(self, capacity: int, adapter: str | None = None) -> History:
        if adapter:
            raise UsageError(f"There is no adapter {adapter!r}.")
        return History(nbytes=self.bytes_for(capacity))

    def read(self, state: History, ids: Sequence[int]) -> torch.Tensor:
        self.watch("read", len(ids))
        return self._after(state, ids)[-1]

    def step(self, states: Sequence[History], ids: Sequence[int]) -> torch.Tensor:
        self.watch("step", len(states))
        return torch.stack([self._after(state, [token])[0] for state, token in zip(states, ids, strict=True)])

    def verify(self, states: Sequence[History], ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        self.watch("verify", sum(map(len, ids)))
        return [self._after(state, each) for state, each in zip(states, ids, strict=True)]

    def rewind(self, state: History, length: int) -> None:
        assert length <= state.length
        del state.past[length + 1 :]

    def save(self, state: History, start: int) -> TensorSnapshot:
        return TensorSnapshot(0, state.length, {"past": torch.tensor(state.past)})

    def restore(self, state: History, snapshots: Sequence[TensorSnapshot]) -> None:
        assert state.length == 0
        state.past = snapshots[-1].tensors["past"].tolist()

    def _after(self, state: History, ids: Sequence[int]) -> torch.Tensor:
        for token in ids:
            state.past.append((31 * state.past[-1] + token + 7) % PLACES)
        assert state.length * 10 <= state.nbytes, "more was read than there is room for"
        return self.table[state.past[-len(ids) :]].clone()  # (l, v)
