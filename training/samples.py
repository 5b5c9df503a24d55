"""Lets a model answer prompts, many at a time, as plain tensors."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import GenerationConfig

from markgraph.training.base import Base
from markgraph.training.extra import peft
from markgraph.training.port import Each, Scores, every_row
from markgraph.training.render import prompt_ids
from markgraph.training.rewards import Judge
from markgraph.training.rows import Row
from markgraph.training.scoring import Policy, divergence

BATCH = 8


class Samples(NamedTuple):
    """Prompts, padded on the left, and what was said to each, padded on the right."""

    ids: Tensor
    """Prompt and answer, (b, p + t)."""
    attention: Tensor
    """1 but for the padding, (b, p + t)."""
    answer: Tensor
    """(b, t)."""
    mask: Tensor
    """1.0 up to the end of each answer, its last token included, (b, t)."""

    def texts(self, tokenizer: Any) -> list[str]:
        """Return the answers as people read them."""
        return [
            str(tokenizer.decode(tokens[kept.bool()], skip_special_tokens=True)).strip()
            for tokens, kept in zip(self.answer, self.mask, strict=True)
        ]

    def ended(self, ends: frozenset[int]) -> Tensor:
        """Return whether each answer has an end, (b,)."""
        return torch.isin(self.answer, torch.tensor(sorted(ends), device=self.answer.device)).any(1)

    def rows(self, which: Tensor) -> "Samples":
        """Return some of them."""
        return Samples(*(part[which] for part in self))


@torch.no_grad()
def sample(
    model: Any, base: Base, prompts: Sequence[Sequence[int]], most: int, temperature: float
) -> Samples:
    """Return an answer of at most `most` tokens to each prompt, drawn; with temperature 0 the likeliest.

    Nothing is cut off the distribution: what is drawn has the probability that the losses reckon with.
    """
    longest = max(map(len, prompts))
    filler = pad_of(base)
    padded = [[filler] * (longest - len(each)) + list(each) for each in prompts]
    kept = [[0] * (longest - len(each)) + [1] * len(each) for each in prompts]
    ids, attention = (torch.tensor(each, device=model.device) for each in (padded, kept))
    drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=most,
        eos_token_id=sorted(base.ends),
        pad_token_id=filler,
        **(drawn if temperature else {"do_sample": False}),
    )
    said = model.generate(input_ids=ids, attention_mask=attention, generation_config=config)
    answer = said[:, longest:]
    mask = until_end(answer, base.ends)
    return Samples(said, torch.cat([attention, mask.to(attention.dtype)], 1), answer, mask)


def until_end(answer: Tensor, ends: frozenset[int]) -> Tensor:
    """Return 1.0 for each token up to the first that ends an answer, and for that one, (b, t)."""
    ended = torch.isin(answer, torch.tensor(sorted(ends), device=answer.device))
    return (ended.int().cumsum(1) - ended.int() == 0).float()


def pad_of(base: Base) -> int:
    """Return the token that fills up prompts; it is masked, so that any will do."""
    pad = base.tokenizer.pad_token_id
    return int(min(base.ends) if pad is None else pad)


def said_logits(model: Any, samples: Samples) -> Tensor:
    """Return the logits before each token that was said, float32 (b, t, v)."""
    t = samples.answer.shape[1]
    out = model(
        input_ids=samples.ids, attention_mask=samples.attention, use_cache=False, logits_to_keep=t + 1
    )
    logits: Tensor = out.logits[:, :-1].float()
    return logits


def judged(
    judge: Judge, base: Base, model: Path | None, rows: Sequence[Row], most: int, each: Each = every_row
) -> Scores:
    """Return what the likeliest answers of a model are worth, and how near it stays to the base.

    Nearness is -KL(pi || rho) over the whole vocabulary, the mean of an answer's tokens. Where it is no
    finite number, nothing was said for a reason, and what that is worth is none either.
    """
    policy = Policy.of(base, model)

    def score(some: Sequence[Row]) -> Scores:
        prompts = [prompt_ids(base, row["messages"]) for row in some]
        samples = sample(policy.model, base, prompts, most, 0.0)
        strayed = (_divergence(policy, samples) * samples.mask).sum(1) / samples.mask.sum(1)  # (b,)
        worth = judge(samples.texts(base.tokenizer), some) | {"nearness": (-strayed).tolist()}
        known = torch.isfinite(strayed).tolist()
        return {
            name: [value if is_known else math.nan for value, is_known in zip(values, known, strict=True)]
            for name, values in worth.items()
        }

    return each(score, rows, BATCH)


@torch.no_grad()
def _divergence(policy: Policy, samples: Samples) -> Tensor:
    """Return KL(pi || rho) before each token that was said, (b, t)."""
    own = said_logits(policy.model, samples).log_softmax(-1)  # (b, t, v)
    adapted = isinstance(policy.reference, peft().PeftModel)
    with policy.reference.disable_adapter() if adapted else nullcontext():
        return divergence(own, said_logits(policy.reference, samples).log_softmax(-1))
