"""Settings that can not be are refused before anything is read, with what is allowed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from markgraph.errors import ConfigError
from markgraph.training.cross_encoder import CrossEncoder
from markgraph.training.distill import Distill
from markgraph.training.dpo import Dpo
from markgraph.training.embedder import Embedder
from markgraph.training.grpo import Grpo
from markgraph.training.kto import Kto
from markgraph.training.lora import Lora
from markgraph.training.ppo import Ppo
from markgraph.training.ppo_loss import Penalty
from markgraph.training.reward import Reward
from markgraph.training.sft import Sft

Taught = partial(Distill, teacher="file:teacher")


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (Lora, {"r": 0}, "method.lora.r is 0. Allowed: 1 or more."),
        (Lora, {"alpha": 0}, "method.lora.alpha is 0. Allowed: more than 0."),
        (Lora, {"dropout": 1.0}, "method.lora.dropout is 1.0. Allowed: from 0, and below 1."),
        (Penalty, {"target": 0}, "method.penalty.target is 0. Allowed: more than 0."),
        (Penalty, {"beta": -0.1}, "method.penalty.beta is -0.1. Allowed: 0 or more."),
        (Sft, {"epochs": float("nan")}, "method.epochs is nan. Allowed: more than 0."),
        (Sft, {"eval_steps": 0}, "method.eval_steps is 0. Allowed: 1 or more."),
        (Dpo, {"beta": -1}, "method.beta is -1. Allowed: more than 0."),
        (Dpo, {"label_smoothing": 0.5}, "method.label_smoothing is 0.5. Allowed: from 0, and below 0.5."),
        (Kto, {"beta": 0.0}, "method.beta is 0.0. Allowed: more than 0."),
        (Kto, {"undesirable_weight": -1}, "method.undesirable_weight is -1. Allowed: 0 or more."),
        (Taught, {"temperature": 0}, "method.temperature is 0. Allowed: more than 0."),
        (Taught, {"alpha": 1.5}, "method.alpha is 1.5. Allowed: from 0 to 1."),
        (Embedder, {"temperature": 0}, "method.temperature is 0. Allowed: more than 0."),
        (Embedder, {"negatives": -1}, "method.negatives is -1. Allowed: 0 or more."),
        (CrossEncoder, {"text_tokens": 7}, "method.text_tokens is 7. Allowed: 8 or more."),
        (Reward, {"center": -1.0}, "method.center is -1.0. Allowed: 0 or more."),
        (Grpo, {"temperature": 0}, "method.temperature is 0. Allowed: more than 0."),
        (Grpo, {"reuse": 0}, "method.reuse is 0. Allowed: 1 or more."),
        (Ppo, {"lam": 1.1}, "method.lam is 1.1. Allowed: from 0 to 1."),
        (Ppo, {"learning_rate": 0.0}, "method.learning_rate is 0.0. Allowed: more than 0."),
    ],
)
def test_settings_that_can_not_be_are_refused(
    kind: Callable[..., object], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as error:
        kind(**settings)
    assert str(error.value) == says


def test_what_may_be_null_may_be_null() -> None:
    assert Penalty(target=None).target is None
    assert Reward(center=None).center is None
    assert Sft(eval_steps=None, max_tokens=None).eval_steps is None
