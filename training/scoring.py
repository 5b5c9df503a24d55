"""What a trained model makes of held-back rows, one at a time: the same value whatever rows are beside it."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from markgraph.models.weights import load_causal
from markgraph.training.base import Base
from markgraph.training.extra import adapted, peft
from markgraph.training.render import Tokens
from markgraph.training.runs import read_json


class Said(NamedTuple):
    """How a model takes an answer of t tokens."""

    logps: Tensor
    """log p of each token, (t,)."""
    best: Tensor
    """Whether each is likelier than any other, (t,)."""


def is_adapter(model: Path) -> bool:
    """Tell whether a folder holds an adapter; otherwise it holds a whole model."""
    return (model / "adapter_config.json").exists()


def speaks(model: Path) -> bool:
    """Tell whether a folder holds a language model, or an adapter of one."""
    if is_adapter(model):
        return bool(read_json(model / "adapter_config.json")["task_type"] == "CAUSAL_LM")
    kinds = read_json(model / "config.json").get("architectures") or []
    return any(kind.endswith("ForCausalLM") for kind in kinds)


def load(base: Base, model: Path | None) -> Any:
    """Return the language model to score: the base, the base with an adapter, or a whole model."""
    if model is None:
        causal = base.causal()
    elif is_adapter(model):
        causal = adapted(base.causal(), model)
    else:
        causal = load_causal(model, "float32")[1]
    return causal.to("cuda" if torch.cuda.is_available() else "cpu").eval()


@torch.no_grad()
def logits(model: Any, tokens: Tokens) -> Tensor:
    """Return the logits before each token of the completion, float32 (t, v) with v ids in all."""
    ids = torch.tensor([tokens.ids], device=model.device)
    found: Tensor = model(input_ids=ids, use_cache=False).logits[0, len(tokens.prompt) - 1 : -1]
    return found.float()


def said(model: Any, tokens: Tokens) -> Said:
    """Return how the model takes the completion behind its prompt."""
    scores = logits(model, tokens)
    told = torch.tensor(tokens.completion, device=scores.device)[:, None]  # (t, 1)
    logps = scores.log_softmax(-1).gather(1, told)[:, 0]
    # Itself alone: what is as likely is not behind it, and NaN is before and behind nothing.
    return Said(logps, (scores >= scores.gather(1, told)).sum(-1) == 1)


class Drift(NamedTuple):
    """How far a policy has gone from its reference in one answer."""

    logratio: float
    """log π(y|x) - log π_ref(y|x), summed over the answer: β times this is DPO's and KTO's reward."""
    kl: float
    """KL(π || π_ref) over the whole vocabulary, the mean of the answer's tokens."""


@dataclass(frozen=True)
class Policy:
    """A trained model beside the base that it started from."""

    model: Any
    reference: Any
    """The same object where the policy is an adapter: it is switched off."""

    @classmethod
    def of(cls, base: Base, model: Path | None) -> "Policy":
        """Load both, or one for both."""
        policy = load(base, model)
        whole = model is not None and not is_adapter(model)
        return cls(policy, load(base, None) if whole else policy)

    def drift(self, tokens: Tokens) -> Drift:
        """Return how far the policy is from the reference behind this prompt."""
        adapted = isinstance(self.reference, peft().PeftModel)
        if self.model is self.reference and not adapted:  # the base itself
            return Drift(0.0, 0.0)
        own = logits(self.model, tokens).log_softmax(-1)  # (t, v)
        with self.reference.disable_adapter() if adapted else nullcontext():
            other = logits(self.reference, tokens).log_softmax(-1)  # (t, v)
        told = torch.tensor(tokens.completion, device=own.device)[:, None]  # (t, 1)
        logratio = (own.gather(1, told) - other.gather(1, told)).sum()
        return Drift(float(logratio), float(divergence(own, other).mean()))


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p || q) at each place, (...), of log-probabilities (..., vocabulary)."""
    return (p.exp() * (p - q)).sum(-1)
