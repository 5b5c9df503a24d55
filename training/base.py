"""The model that a training starts from: the same files, tokenizer and chat template that are served."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from markgraph.engines.sampler import end_tokens
from markgraph.models.catalog import weights_of
from markgraph.models.placement import Placement
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
    template_values: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What serving hands to the chat template beside the messages."""

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> "Base":
        """Return the base that a composed `model` config names, without the adapter that it may name too.

        Raises:
            ConfigError: that model has no weights here.
        """
        settings = weights_of(model)
        values = dict(model.get("template_values") or {})
        return cls(str(model.get("model", "local")), settings["source"], settings.get("sha256"), values)

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

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tokens at which serving stops."""
        places = [self.folder / name for name in ("generation_config.json", "config.json")]
        found = next(place for place in places if place.exists())
        return end_tokens(self.tokenizer, json.loads(found.read_text("utf-8")).get("eos_token_id"))

    @cached_property
    def window(self) -> int | None:
        """How many tokens it takes; None for a recurrent model, which takes any number."""
        window = json.loads((self.folder / "config.json").read_text("utf-8")).get("max_position_embeddings")
        return int(window) if window else None

    def causal(self, dtype: str = "float32", quantization: str | None = None) -> Any:
        """Return a new copy of its language model: on the processor, or quantised on a GPU.

        Raises:
            UsageError: the hardware for that quantisation is missing.
            MissingExtraError: its package is.
        """
        return load_causal(self.folder, dtype, Placement(quantization=quantization))[1]
