"""A decoder whose state stays as small as it is, however much it has read: what Mamba and Mamba-2 share.

Shapes: m rows (tokens), d hidden, c channels of the convolution, k taps of it, v vocabulary.

Does NOT include: adapters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from torch import Tensor

from markgraph.engines.native.decoder import SequenceState, Snapshot
from markgraph.engines.native.glue import rms_norm
from markgraph.engines.native.linear import Linear
from markgraph.engines.native.snapshot import TensorSnapshot
from markgraph.errors import UsageError

WINDOW = 1 << 20
"""Tokens that a sequence may have: nothing in the model limits them."""
PASS = 512
"""Tokens that are taken through all layers at once: enough for quick products, with what lies between them
in the processor's cache."""


@dataclass
class Undo:
    """What a state was before it was verified, and what it read then."""

    window: Tensor
    hidden: Tensor
    length: int
    ids: Sequence[int]


@dataclass
class RecurrentState:
    """What is kept of a sequence."""

    window: Tensor
    """The last inputs of each layer's convolution, (layers, k - 1, c)."""
    hidden: Tensor
    """The state of each layer's recurrence, (layers, ...)."""
    length: int = 0
    undo: Undo | None = None

    @property
    def nbytes(self) -> int:
        """Return the memory that is reserved for it, in bytes."""
        return self.window.nbytes + self.hidden.nbytes


@dataclass(frozen=True)
class Rows:
    """The sequences that rows belong to, one after another, as one layer keeps them."""

    windows: Sequence[Tensor]
    """(k - 1, c) each"""
    hiddens: Sequence[Tensor]
    lengths: Sequence[int]
    """Rows of each."""


class Mixer(Protocol):
    """The block of a layer: mixes what a sequence's tokens say."""

    def __call__(self, x: Tensor, rows: Rows) -> Tensor:
        """Return what is added to the residual stream, (m, d), from its norm (m, d)."""


@dataclass(frozen=True)
class Projection:
    """A product with a weight, and a bias where there is one."""

    linear: Linear
    bias: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the product, (m, k) to (m, n)."""
        y = self.linear(x)
        return y if self.bias is None else y.add_(self.bias)


@dataclass(frozen=True)
class Layer:
    """A layer's weights."""

    norm: Tensor
    mixer: Mixer


@dataclass
class RecurrentWeights:
    """A model's weights."""

    embedding: Tensor
    """(v, d), float32 or bfloat16"""
    layers: Sequence[Layer]
    norm: Tensor
    head: Linear
    eps: float
    """Added under the root of the norms."""


@dataclass
class RecurrentDecoder:
    """Reads and steps sequences with a state of constant size each."""

    weights: RecurrentWeights
    window_shape: tuple[int, ...]
    """Of `RecurrentState.window`."""
    hidden_shape: tuple[int, ...]
    """Of `RecurrentState.hidden`."""
    window: int = WINDOW
    cumulative: bool = True
    vocab_size: int = field(init=False)

    def __post_init__(self) -> None:
        self.vocab_size = self.weights.head.outputs

    def open(self, capacity: int, adapter: str | None = None) -> RecurrentState:  # noqa: ARG002
        """Return an empty state, which has room for any number of tokens."""
        if adapter is not None:
            raise UsageError(
                f"There is no adapter {adapter!r}: the native engine reads Mamba models without adapters. "
                "Merge it into the weights, or use markgraph.engines.transformers.TransformersEngine."
            )
        return RecurrentState(torch.zeros(self.window_shape), torch.zeros(self.hidden_shape))

    def bytes_for(self, capacity: int) -> int:  # noqa: ARG002
        """Return what `open` will reserve, in bytes."""
        return 4 * (torch.Size(self.window_shape).numel() + torch.Size(self.hidden_shape).numel())

    @torch.inference_mode()
    def read(self, state: SequenceState, ids: Sequence[int]) -> Tensor:
        """Read `ids` and return the logits after the last of them, float32 (v,)."""
        own = cast(RecurrentState, state)
        own.undo = None
        return self._logits(self._read(own, ids)[-1:])[0]

    @torch.inference_mode()
    def step(self, states: Sequence[SequenceState], ids: Sequence[int]) -> Tensor:
        """Read one token for each state, and return the logits after it, float32 (b, v)."""
        own = cast(Sequence[RecurrentState], states)
        for state in own:
            state.undo = None
        return self._logits(self._forward(own, [[token] for token in ids]))

    @torch.inference_mode()
    def verify(self, states: Sequence[SequenceState], ids: Sequence[Sequence[int]]) -> list[Tensor]:
        """Read some tokens for each state; return the logits after each, float32 (l_i, v)."""
        own = cast(Sequence[RecurrentState], states)
        for state, each in zip(own, ids, strict=True):
            state.undo = Undo(state.window.clone(), state.hidden.clone(), state.length, each)
        return list(torch.split(self._logits(self._forward(own, ids)), [len(each) for each in ids]))

    @torch.inference_mode()
    def rewind(self, state: SequenceState, length: int) -> None:
        """Forget all but the first `length` tokens: go back, and read again what stays.

        A recurrence can't be undone, and a copy of the state after each token would cost more than to read
        the few tokens of a draft that are kept.
        """
        own = cast(RecurrentState, state)
        undo, own.undo = own.undo, None
        if length == own.length:
            return
        if undo is None or not undo.length <= length < own.length:
            raise UsageError(
                f"A state of {own.length} tokens can't go back to {length}. Allowed: a length within what "
                "`verify` has just read."
            )
        own.window.copy_(undo.window)
        own.hidden.copy_(undo.hidden)
        own.length = undo.length
        if length > own.length:
            self._forward([own], [undo.ids[: length - own.length]])

    def save(self, state: SequenceState, start: int) -> TensorSnapshot:  # noqa: ARG002
        """Return a copy of the whole state."""
        own = cast(RecurrentState, state)
        return TensorSnapshot(0, own.length, {"window": own.window.clone(), "hidden": own.hidden.clone()})

    @torch.inference_mode()
    def restore(self, state: SequenceState, snapshots: Sequence[Snapshot]) -> None:
        """Fill an empty state from the last of the snapshots."""
        own, last = cast(RecurrentState, state), snapshots[-1]
        own.window.copy_(last.tensors["window"])
        own.hidden.copy_(last.tensors["hidden"])
        own.length = last.end

    def _read(self, state: RecurrentState, ids: Sequence[int]) -> Tensor:
        """Return the residual stream after the last of `ids`, (at most `PASS`, d)."""
        begins = range(0, len(ids), PASS)
        return [self._forward([state], [ids[begin : begin + PASS]]) for begin in begins][-1]

    def _forward(self, states: Sequence[RecurrentState], ids: Sequence[Sequence[int]]) -> Tensor:
        """Return the residual stream after the last layer, (m, d)."""
        lengths = [len(each) for each in ids]
        x = self.weights.embedding[torch.tensor([token for each in ids for token in each])].float()
        all_windows = [state.window.unbind() for state in states]
        all_hiddens = [state.hidden.unbind() for state in states]
        for at, layer in enumerate(self.weights.layers):
            windows, hiddens = ([each[at] for each in kept] for kept in (all_windows, all_hiddens))
            rows = Rows(windows, hiddens, lengths)
            x += layer.mixer(rms_norm(x, layer.norm, self.weights.eps), rows)
        for state, length in zip(states, lengths, strict=True):
            state.length += length
        return x

    def _logits(self, x: Tensor) -> Tensor:
        return self.weights.head(rms_norm(x, self.weights.norm, self.weights.eps))
