"""The model that a training starts from: the same files, tokenizer and chat template that are served."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markgraph.models.catalog import weights_of
from markgraph.models.source import resolve
from markgraph.models.weights import load_causal, load_tokenizer, safetensors_folder


@dataclass(frozen=True)
class Base:
    """A model of `conf/model`, or any folder of safetensors."""

    name: str
    """What the config calls it."""
    source: str
    """Reference to its weights."""
    sha256: str | None = None
    """What the weights' digest has to be."""

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> "Base":
        """Return the base that a composed `model` config names.

        Raises:
            ConfigError: that model has no weights here.
        """
        settings = weights_of(model)
        return cls(str(model.get("model", "local")), settings["source"], settings.get("sha256"))

    @cached_property
    def folder(self) -> Path:
        """The folder with its safetensors; GGUF is dequantised once.

        Raises:
            WeightsError: they can't be had.
        """
        return safetensors_folder(resolve(self.source, self.sha256))

    @cached_property
    def tokenizer(self) -> Any:
        """Its tokenizer, with the chat template that serving uses."""
        return load_tokenizer(self.folder)

    @cached_property
    def family(self) -> str:
        """Its architecture, as transformers calls it: llama, mamba, mamba2, ..."""
        return str(json.loads((self.folder / "config.json").read_text("utf-8"))["model_type"])

    def causal(self, dtype: str = "float32") -> Any:
        """Return a new copy of its language model, on the processor."""
        return load_causal(self.folder, dtype)[1]
