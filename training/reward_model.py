"""A judge that was learned: the model that `method=reward` has trained."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from markgraph.models.source import resolve
from markgraph.training.base import Base
from markgraph.training.classifier import reward_model
from markgraph.training.port import Scores
from markgraph.training.render import tokens
from markgraph.training.reward import rewarded
from markgraph.training.rows import Row
from markgraph.training.scoring import is_adapter


@dataclass(frozen=True)
class RewardModel:
    """Scores answers behind their prompts, each by itself: the same whatever answers are beside it."""

    source: str
    """A folder, or a reference as `markgraph.models.source.resolve` takes it."""
    template_values: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, completions: Sequence[str], rows: Sequence[Row]) -> Scores:
        """Return the score of each answer; it has no bounds."""
        base, model = self._loaded
        pairs = zip(completions, rows, strict=True)
        return {"reward": [rewarded(model, tokens(base, row, text)) for text, row in pairs]}

    @cached_property
    def _loaded(self) -> tuple[Base, Any]:
        """The base whose tokenizer it reads with, and the model."""
        folder = resolve(self.source if ":" in self.source else f"file:{self.source}")
        source = f"file:{folder}"
        if is_adapter(folder):
            source = json.loads((folder / "adapter_config.json").read_text("utf-8"))[
                "base_model_name_or_path"
            ]
        base = Base("reward", source, template_values=self.template_values)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return base, reward_model(base, folder).to(device)
