"""The seam between the scheduler and a model: sequences with a state each, read and stepped together.

Nothing here is thread-safe: one thread owns a decoder and its states.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class SequenceState(Protocol):
    """What a decoder remembers of one sequence: keys and values, or a recurrent state."""

    @property
    def length(self) -> int:
        """Return how many tokens it has read."""

    @property
    def nbytes(self) -> int:
        """Return the memory that is reserved for it, in bytes."""


class Snapshot(Protocol):
    """A copy of a state, or of the stretch of it that some tokens added."""

    @property
    def start(self) -> int:
        """Return where it begins: a decoder that needs the tokens before needs their snapshots too."""

    @property
    def end(self) -> int:
        """Return the first token that is not in it."""

    @property
    def tensors(self) -> Mapping[str, "torch.Tensor"]:
        """Return plain CPU tensors: what is kept on disk."""

    @property
    def nbytes(self) -> int:
        """Return its size in bytes."""


class Decoder(Protocol):
    """A causal language model in its serving form."""

    vocab_size: int
    window: int
    """Tokens that a sequence may have."""
    cumulative: bool
    """A snapshot holds the whole sequence's state (Mamba), not only a stretch of it (keys and values)."""

    def open(self, capacity: int, adapter: str | None = None) -> SequenceState:
        """Return an empty state with room for `capacity` tokens, to be read with `adapter`.

        Raises:
            UsageError: there is no such adapter.
        """

    def bytes_for(self, capacity: int) -> int:
        """Return what `open(capacity)` will reserve, in bytes."""

    def read(self, state: SequenceState, ids: Sequence[int]) -> "torch.Tensor":
        """Read `ids` (one or more) and return the logits after the last of them, float32 (v,)."""

    def step(self, states: Sequence[SequenceState], ids: Sequence[int]) -> "torch.Tensor":
        """Read one token for each state, and return the logits after it, float32 (b, v).

        The result for a state does not depend on the others in the batch.
        """

    def verify(self, states: Sequence[SequenceState], ids: Sequence[Sequence[int]]) -> "list[torch.Tensor]":
        """Read one or more tokens for each state; return the logits after each token, float32 (l_i, v).

        Until the next call, each state may be taken back to any length within what was just read.
        """

    def rewind(self, state: SequenceState, length: int) -> None:
        """Forget all but the first `length` tokens; only right after `verify`, or at the state's length."""

    def save(self, state: SequenceState, start: int) -> Snapshot:
        """Return a copy of what the tokens from `start` on have added; all of it where `cumulative`."""

    def restore(self, state: SequenceState, snapshots: Sequence[Snapshot]) -> None:
        """Fill an empty state from snapshots that follow one another; the last alone where `cumulative`."""
