"""Chooses the next token from logits, the same way for every engine that sees them."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from markgraph.engines.port import Sampling, Token
from markgraph.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

_HEAD = 256
"""The nucleus is looked for among so many tokens first: sorting a whole vocabulary takes milliseconds."""


class Sampler:
    """Chooses the tokens of one answer; keeps its random numbers and its mask.

    `pick` is all that plain decoding needs. Speculative decoding takes it apart: `distribution` to accept or
    refuse a draft, `draw` for a token of its own, `take` for each token that it settled on.
    """

    def __init__(self, sampling: Sampling) -> None:
        import torch

        self._sampling = sampling
        self._mask = sampling.mask() if sampling.mask else None
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def fork(self) -> "Sampler":
        """Return a sampler that will draw the same random numbers, without the mask and log-probabilities."""
        other = Sampler(replace(self._sampling, mask=None, logprobs=None))
        other._generator.set_state(self._generator.get_state())
        return other

    @property
    def greedy(self) -> bool:
        """Tell whether the likeliest token is taken, always."""
        return self._sampling.temperature <= 0

    def pick(self, logits: "Tensor") -> Token:
        """Choose from `logits` (v,), float32 on the CPU, which stay as they are.

        Raises:
            UsageError: the mask allows no token.
        """
        token = int(self._masked(logits).argmax()) if self.greedy else self.draw(self.distribution(logits))
        return self.take(token, logits)

    def distribution(self, logits: "Tensor") -> "Tensor":
        """Return the probabilities (v,) that `pick` draws from: after mask, temperature, top-k and nucleus.

        Source: nucleus sampling, Holtzman et al. 2020; top-k, Fan et al. 2018.
        """
        import torch

        logits = self._masked(logits)
        if self.greedy:
            return torch.nn.functional.one_hot(logits.argmax(), len(logits)).float()
        # At most 0, so that a small temperature overflows to certainty and not to NaN.
        scaled = (logits - logits.max()) / self._sampling.temperature  # (v,)
        top_k, top_p = self._sampling.top_k, self._sampling.top_p
        if top_k > 0:
            kept = scaled.topk(min(top_k, len(scaled))).indices
            scaled = torch.full_like(scaled, -torch.inf).index_copy_(0, kept, scaled[kept])
        probabilities = scaled.softmax(-1)  # (v,)
        return probabilities if top_p >= 1 else _nucleus(probabilities, top_p)

    def draw(self, probabilities: "Tensor") -> int:
        """Draw from `probabilities` (v,), which need not sum to one."""
        import torch

        # torch.multinomial draws a number for every token of the vocabulary, which takes 20 times as long.
        sums = probabilities.cumsum(-1, dtype=torch.float64)  # (v,)
        at = torch.rand(1, generator=self._generator, dtype=torch.float64) * sums[-1]
        return int(torch.searchsorted(sums, at, right=True).clamp_(max=len(sums) - 1))

    def uniform(self) -> float:
        """Return a random number from [0, 1)."""
        import torch

        return float(torch.rand((), generator=self._generator))

    def take(self, token: int, logits: "Tensor") -> Token:
        """Move the mask on to `token`, and return it with its log-probabilities, if they were asked for."""
        if self._mask:
            self._mask.advance(token)
        if (count := self._sampling.logprobs) is None:
            return Token(token)
        logprobs = logits.log_softmax(-1)  # (v,)
        best = logprobs.topk(min(count, len(logprobs)))
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return Token(token, float(logprobs[token]), top)

    def _masked(self, logits: "Tensor") -> "Tensor":
        import torch

        allowed = self._mask.allowed() if self._mask else None
        if allowed is None:
            return logits
        # Models pad their vocabulary to a round number: logits may be longer than the mask.
        size = min(len(allowed), len(logits))
        masked = torch.full_like(logits, -torch.inf)
        masked[:size] = torch.where(allowed[:size], logits[:size], masked[:size])
        if masked.max() == -torch.inf:
            raise UsageError(
                f"The mask allows none of the model's {len(logits)} tokens. Allowed: one that always leaves "
                "a token, the end of text at least. Check that it was made for this model's tokenizer."
            )
        return masked


def end_tokens(tokenizer: Any, ends: int | list[int] | None) -> frozenset[int]:
    """Return the ids that end an answer: Llama 3, for one, has several, and its tokenizer names one.

    Args:
        ends: `eos_token_id` of the model's generation config.
    """
    named = (tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends]))
    return frozenset(token for token in named if token is not None)


def _nucleus(probabilities: "Tensor", top_p: float) -> "Tensor":
    """Return the smallest set of likeliest tokens that together have `top_p`, scaled to sum to one, (v,)."""
    import torch

    best, ids = probabilities.topk(min(_HEAD, len(probabilities)))
    if best.sum() < top_p:
        best, ids = probabilities.sort(descending=True)
    best[best.cumsum(-1) - best > top_p] = 0.0
    return torch.zeros_like(probabilities).index_copy_(0, ids, best / best.sum())
