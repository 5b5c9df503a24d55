"""Loads Mamba and Mamba-2 from safetensors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from markgraph.engines.native.linear import Linear
from markgraph.engines.native.load import Checkpoint, sparingly
from markgraph.engines.native.load_llama import form_for, kept_embedding, load_head
from markgraph.engines.native.recurrent import (
    Layer,
    Mixer,
    Projection,
    RecurrentDecoder,
    RecurrentWeights,
)
from markgraph.errors import UnknownArchitectureError
from markgraph.models.safe_config import safe_config


def load_recurrent(
    folder: Path,
    mode: str,
    mixer: Callable[["Block"], Mixer],
    shapes: Callable[[Any], tuple[tuple[int, ...], tuple[int, ...]]],
) -> RecurrentDecoder:
    """Return the decoder of a checkpoint whose layers are a norm and a mixer each.

    Args:
        folder: the checkpoint.
        mode: as `load_decoder` takes it.
        mixer: makes the mixer of one layer.
        shapes: returns the shapes of a layer's window and of its recurrent state.
    """
    config = safe_config(folder)
    if config.hidden_act not in ("silu", "swish"):
        raise UnknownArchitectureError(
            f"The native engine doesn't know Mamba models with {{'hidden_act': {config.hidden_act!r}}}. "
            "Use markgraph.engines.transformers.TransformersEngine for this one."
        )
    layers, tensors = config.num_hidden_layers, Checkpoint(folder)
    names = ("backbone.embeddings.weight", "backbone.embedding.weight")
    embedding = tensors.mapped(next((name for name in names if name in tensors), names[0]))
    blocks = [Block(tensors, f"backbone.layers.{at}", config, mode) for at in range(layers)]
    weights = RecurrentWeights(
        embedding=kept_embedding(embedding, mode),
        layers=list(sparingly(Layer(block["norm.weight"], mixer(block)) for block in blocks)),
        norm=tensors["backbone.norm_f.weight"].float(),
        head=load_head(tensors, embedding, mode),
        eps=config.layer_norm_epsilon,
    )
    window, hidden = shapes(config)
    return RecurrentDecoder(weights, (layers, *window), (layers, *hidden))


@dataclass(frozen=True)
class Block:
    """A layer of a checkpoint."""

    tensors: Checkpoint
    name: str
    config: Any
    mode: str

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor of this layer in float32."""
        return self.tensors[f"{self.name}.{name}"].float()

    def projection(self, name: str, outputs: slice = slice(None)) -> Projection:
        """Return the product `name`, or some of its outputs, in the form that the mode asks for."""
        weight, bias = self.tensors.mapped(f"{self.name}.{name}.weight")[outputs], self.bias(name)
        linear = Linear(weight, form_for(self.mode, weight.shape[1]))
        return Projection(linear, None if bias is None else bias[outputs])

    def bias(self, name: str) -> Tensor | None:
        """Return the bias of the product `name`, if it has one."""
        held = f"{self.name}.{name}.bias" in self.tensors
        return self[f"{name}.bias"] if held else None

    def convolution(self) -> tuple[Tensor, Tensor]:
        """Return the convolution's weight (k, c), and its bias (c,)."""
        weight = self["mixer.conv1d.weight"].squeeze(1).t().contiguous()
        bias = self["mixer.conv1d.bias"] if self.config.use_conv_bias else weight.new_zeros(weight.shape[1])
        return weight, bias
