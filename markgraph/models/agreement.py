"""How many answers stay the same when a model's number format changes, and how fast both give them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from markgraph.models.quality import Reads

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Agreement:
    """How alike two models answer, both taking the likeliest token each time."""

    identical: float
    """Share of answers that are the same from beginning to end."""
    tokens: float
    """Share of tokens, of the longer answer each, before the first that differs."""


@dataclass(frozen=True)
class Speed:
    """Tokens a second: of a prompt that is read, and of an answer that is written."""

    prefill: float
    decode: float


def greedy(decoder: Reads, prompt: Sequence[int], max_tokens: int, ends: frozenset[int]) -> list[int]:
    """Return the likeliest tokens after `prompt`, without the one that ends the answer."""
    import torch

    said: list[int] = []
    with torch.inference_mode():
        state = decoder.open(len(prompt) + max_tokens)
        token = _likeliest(decoder.verify([state], [prompt])[0][-1])
        while token not in ends and len(said) < max_tokens:
            said.append(token)
            token = _likeliest(decoder.step([state], [token])[0])
    return said


def agreement(before: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> Agreement:
    """Compare answers, in token ids, to the same prompts."""
    pairs = list(zip(before, after, strict=True))
    same = sum(list(old) == list(new) for old, new in pairs)
    alike = sum(_common(old, new) for old, new in pairs)
    total = sum(max(len(old), len(new)) for old, new in pairs)
    return Agreement(identical=same / len(pairs), tokens=alike / total if total else 1.0)


def speed(decoder: Reads, ids: Sequence[int], *, steps: int = 32, runs: int = 3) -> Speed:
    """Measure how fast `ids` are read, and how fast tokens follow after the first 64 of them."""
    import torch

    with torch.inference_mode():
        reads = [_seconds_to_read(decoder, ids) for _ in range(runs + 1)][1:]  # the first warms up
        state = decoder.open(64 + steps + 1)
        decoder.verify([state], [ids[:64]])
        decoder.step([state], [ids[0]])
        taken = []
        for token in range(steps):
            began = perf_counter()
            decoder.step([state], [ids[token]])
            taken.append(perf_counter() - began)
    return Speed(prefill=len(ids) / median(reads), decode=1 / median(taken))


def _seconds_to_read(decoder: Reads, ids: Sequence[int]) -> float:
    state = decoder.open(len(ids))
    began = perf_counter()
    decoder.read(state, ids)
    return perf_counter() - began


def _likeliest(logits: "torch.Tensor") -> int:
    return int(logits.argmax())


def _common(old: Sequence[Any], new: Sequence[Any]) -> int:
    """Return how many items both begin with."""
    differs = (at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other)
    return next(differs, min(len(old), len(new)))
