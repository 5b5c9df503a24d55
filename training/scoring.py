"""What a trained model makes of held-back rows, one at a time: the same value whatever rows are beside it."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from markgraph.models.weights import load_causal
from markgraph.training.base import Base
from markgraph.training.extra import peft
from markgraph.training.render import Tokens


class Said(NamedTuple):
    """How a model takes an answer of t tokens."""

    logps: Tensor
    """log p of each token, (t,)."""
    best: Tensor
    """Whether each is the likeliest, (t,)."""


def is_adapter(model: Path) -> bool:
    """Tell whether a folder holds an adapter; otherwise it holds a whole model."""
    return (model / "adapter_config.json").exists()


def load(base: Base, model: Path | None) -> Any:
    """Return the language model to score: the base, the base with an adapter, or a whole model."""
    if model is None:
        causal = base.causal()
    elif is_adapter(model):
        causal = peft().PeftModel.from_pretrained(base.causal(), model)
    else:
        causal = load_causal(model, "float32")[1]
    return causal.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def without_adapter(model: Any) -> AbstractContextManager[Any]:
    """Return a context in which an adapter adds nothing: the reference model."""
    return model.disable_adapter() if isinstance(model, peft().PeftModel) else nullcontext()


@torch.no_grad()
def logits(model: Any, tokens: Tokens) -> Tensor:
    """Return what precedes each token of the completion, float32 (t, vocabulary)."""
    ids = torch.tensor([tokens.ids], device=model.device)
    found: Tensor = model(input_ids=ids, use_cache=False).logits[0, len(tokens.prompt) - 1 : -1]
    return found.float()


def said(model: Any, tokens: Tokens) -> Said:
    """Return how the model takes the completion behind its prompt."""
    scores = logits(model, tokens)
    told = torch.tensor(tokens.completion, device=scores.device)  # (t,)
    logps = scores.log_softmax(-1).gather(1, told[:, None])[:, 0]
    return Said(logps, scores.argmax(-1) == told)
