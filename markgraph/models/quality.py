"""What a number format costs: how far a quantised model's predictions are from the unquantised one's.

Both read the same text; what each expects after every token is compared. The candidate reads it in the
widths that it serves in, one token at a time and many at once, because it may multiply them differently.

Does NOT include: anything about how good the unquantised model is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from markgraph.errors import QualityError

if TYPE_CHECKING:
    import torch

CHUNK = 128
"""Tokens that are compared at once: their logits, and copies of them, are all that is kept."""


class Verifies(Protocol):
    """As much of `markgraph.engines.native.decoder.Decoder` as a reference has."""

    def open(self, capacity: int) -> Any:
        """Return an empty state with room for `capacity` tokens."""

    def verify(self, states: Sequence[Any], ids: Sequence[Sequence[int]]) -> "list[torch.Tensor]":
        """Read tokens for each state; return the logits after each token, float32 (l_i, v)."""


class Reads(Verifies, Protocol):
    """As much of it as a candidate has."""

    def read(self, state: Any, ids: Sequence[int]) -> "torch.Tensor":
        """Read `ids` and return the logits after the last of them, float32 (v,)."""

    def step(self, states: Sequence[Any], ids: Sequence[int]) -> "torch.Tensor":
        """Read one token for each state, and return the logits after it, float32 (b, v)."""


@dataclass(frozen=True)
class Quality:
    """How near a candidate is to its reference over some text."""

    kl: float
    """Mean Kullback-Leibler divergence of its next-token distributions from the reference's, in nats."""
    top1: float
    """Share of positions where both find the same token likeliest."""
    nll_reference: float
    """Mean negative log-likelihood of the text under the reference, nats per token."""
    nll_candidate: float
    tokens: int
    """Positions that were compared."""

    @property
    def perplexity(self) -> tuple[float, float]:
        """Return the perplexity of the text under the reference, and under the candidate."""
        return math.exp(self.nll_reference), math.exp(self.nll_candidate)


@dataclass(frozen=True)
class Bounds:
    """What is tolerated."""

    kl: float = 0.01
    """At most."""
    top1: float = 0.95
    """At least."""

    def broken(self, quality: Quality) -> list[str]:
        """Return what breaks a bound, in words: which, got, allowed."""
        found = []
        if not quality.kl <= self.kl:  # NaN breaks it too
            found.append(f"KL divergence {quality.kl:.4f} nats, allowed: at most {self.kl}")
        if not quality.top1 >= self.top1:
            found.append(f"top-1 agreement {quality.top1:.3f}, allowed: at least {self.top1}")
        return found

    def broken_at(self, qualities: "Mapping[int, Quality]") -> list[str]:
        """Return what breaks a bound at any width."""
        return [
            f"reading {width} at once: {text}"
            for width, quality in qualities.items()
            for text in self.broken(quality)
        ]

    def check(self, what: str, qualities: "Mapping[int, Quality]") -> None:
        """Refuse what breaks a bound at any width.

        Raises:
            QualityError: saying which bound, what was got, and what is allowed.
        """
        if broken := self.broken_at(qualities):
            raise QualityError(
                f"{what} is too far from the unquantised model. Got, {'; '.join(broken)}. "
                "Choose another mode, or raise the bound if you can live with other answers."
            )


class Recorded:
    """A reference whose predictions are kept, so that it need not be in memory with a candidate."""

    def __init__(self, reference: Verifies, ids: Sequence[int]) -> None:
        """Have `reference` read a text, which `compare_formats` is then given too."""
        state, end = reference.open(len(ids)), len(ids) - 1
        pieces = (ids[start : min(start + CHUNK, end)] for start in range(0, end, CHUNK))
        self._logits = [reference.verify([state], [piece])[0] for piece in pieces]  # (l, v) each

    def open(self, capacity: int) -> Any:  # noqa: ARG002
        """Return what goes through the predictions from the beginning."""
        return iter(self._logits)

    def verify(self, states: Sequence[Any], ids: Sequence[Sequence[int]]) -> "list[torch.Tensor]":  # noqa: ARG002
        """Return the predictions for the next piece."""
        return [next(state) for state in states]


def compare_formats(
    reference: Verifies, candidate: Reads, ids: Sequence[int], widths: Sequence[int] = (1, CHUNK)
) -> dict[int, Quality]:
    """Return, for each width, how near `candidate` is to `reference` over a text.

    Args:
        ids: the text, two or more tokens.
        widths: how many tokens the candidate reads at once, each at most `CHUNK`; 1 takes its `step`.
    """
    import torch

    end = len(ids) - 1  # the last token has nothing after it to be judged by
    exact = reference.open(len(ids))
    tallies = {width: _Tally() for width in widths}
    states = {width: candidate.open(len(ids)) for width in widths}
    with torch.inference_mode():
        for start in range(0, end, CHUNK):
            piece = ids[start : min(start + CHUNK, end)]
            after = torch.tensor(ids[start + 1 : start + 1 + len(piece)])  # (l,)
            [expected] = reference.verify([exact], [piece])  # (l, v)
            for width, tally in tallies.items():
                tally.add(expected, _read(candidate, states[width], piece, width), after)
    return {width: tally.quality() for width, tally in tallies.items()}


def _read(decoder: Reads, state: Any, ids: Sequence[int], width: int) -> "torch.Tensor":
    """Return the logits after each of `ids`, float32 (l, v), read `width` at a time."""
    import torch

    if width == 1:
        return torch.cat([decoder.step([state], [token]) for token in ids])
    parts = [ids[start : start + width] for start in range(0, len(ids), width)]
    return torch.cat([decoder.verify([state], [part])[0] for part in parts])


class _Tally:
    """Sums over positions."""

    def __init__(self) -> None:
        self.kl = self.same = self.reference = self.candidate = 0.0
        self.tokens = 0

    def add(self, expected: "torch.Tensor", got: "torch.Tensor", after: "torch.Tensor") -> None:
        """Take in the logits (l, v) of both, and the tokens that followed (l,)."""
        from torch.nn.functional import nll_loss

        p, q = expected.float().log_softmax(-1), got.float().log_softmax(-1)
        self.kl += float((p.exp() * (p - q)).sum(-1).double().sum())
        self.same += float((p.argmax(-1) == q.argmax(-1)).sum())
        self.reference += float(nll_loss(p, after, reduction="sum"))
        self.candidate += float(nll_loss(q, after, reduction="sum"))
        self.tokens += len(after)

    def quality(self) -> Quality:
        n = self.tokens
        return Quality(self.kl / n, self.same / n, self.reference / n, self.candidate / n, n)
