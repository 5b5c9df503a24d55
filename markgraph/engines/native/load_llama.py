"""Loads Transformers of the Llama kind from safetensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from markgraph.engines.native.glue import Dims
from markgraph.engines.native.linear import BLOCKS, Form, Linear
from markgraph.engines.native.llama import LlamaDecoder
from markgraph.engines.native.llama_weights import Layer, LlamaWeights
from markgraph.engines.native.load import MODES, Checkpoint, give_back, read_config, sparingly
from markgraph.engines.native.probe import serving
from markgraph.errors import UnknownArchitectureError

NEEDED = {
    *("hidden_act", "hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads"),
    *("num_hidden_layers", "num_key_value_heads", "rms_norm_eps"),
}
"""Settings that a `config.json` must give for itself; others have the same default in every architecture."""
NEEDED_TOO = {"mistral": {"sliding_window"}, "qwen3": {"head_dim"}}
Settings = Mapping[str, Any]


def load(folder: Path, mode: str) -> LlamaDecoder:
    """Return the decoder of a Llama-kind checkpoint."""
    config = settings_of(folder)
    check(config)
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    form = form_for(mode, config["hidden_size"], config["intermediate_size"], heads * head_dim)
    tensors = Checkpoint(folder)
    embedding, head = load_ends(tensors, mode)
    give_back()
    frequencies, scale = rotary_frequencies(folder, config, head_dim)
    weights = LlamaWeights(
        embedding=embedding,
        layers=list(sparingly(load_layer(tensors, at, form) for at in range(config["num_hidden_layers"]))),
        norm=tensors["model.norm.weight"].float(),
        head=head,
        dims=Dims(heads, config["num_key_value_heads"], head_dim, config["rms_norm_eps"]),
        inverse_frequencies=frequencies,
        rotary_scale=scale,
        window=config["max_position_embeddings"],
        form=form,
    )
    return LlamaDecoder(weights, torch.float32 if mode == "exact" else torch.bfloat16)


def form_for(mode: str, *sizes: int) -> Form:
    """Return what `mode` keeps weights of such widths as: bfloat16 where its blocks don't divide them."""
    name = MODES[mode]
    whole = all(size % BLOCKS.get(name, 1) == 0 for size in sizes)
    return serving(name if whole else "bfloat16", torch.get_num_threads())


def load_layer(tensors: Checkpoint, at: int, form: Form) -> Layer:
    """Return block `at`: products that share an input are made one."""
    block = f"model.layers.{at}"
    inputs = [f"{block}.self_attn.{name}_proj" for name in "qkv"]
    biases = [f"{name}.bias" for name in inputs]
    norms = [f"{block}.self_attn.{name}_norm.weight" for name in "qk"]

    def linear(*names: str) -> Linear:
        return Linear(tensors.stacked(*(f"{name}.weight" for name in names)), form)

    return Layer(
        attention_norm=tensors[f"{block}.input_layernorm.weight"].float(),
        qkv=linear(*inputs),
        out=linear(f"{block}.self_attn.o_proj"),
        mlp_norm=tensors[f"{block}.post_attention_layernorm.weight"].float(),
        gate_up=linear(f"{block}.mlp.gate_proj", f"{block}.mlp.up_proj"),
        down=linear(f"{block}.mlp.down_proj"),
        qkv_bias=tensors.stacked(*biases) if biases[0] in tensors else None,
        qk_norms=(tensors[norms[0]].float(), tensors[norms[1]].float()) if norms[0] in tensors else None,
    )


def load_ends(tensors: Checkpoint, mode: str) -> tuple[Tensor | Linear, Linear]:
    """Return the embedding and the output matrix: one in memory, where `small` and the two are tied."""
    form, embedding = (
        serving("int8-rows", torch.get_num_threads()),
        tensors.mapped("model.embed_tokens.weight"),
    )
    if mode != "small" or form.name != "int8-rows":
        return kept_embedding(embedding, mode), load_head(tensors, embedding, mode)
    rows = Linear(embedding, form)
    return rows, Linear(tensors.mapped("lm_head.weight"), form) if "lm_head.weight" in tensors else rows


def kept_embedding(embedding: Tensor, mode: str) -> Tensor:
    """Return a copy to look tokens up in."""
    return embedding.to(torch.float32 if mode == "exact" else torch.bfloat16, copy=True)


def load_head(tensors: Checkpoint, embedding: Tensor, mode: str) -> Linear:
    """Return the output matrix, never below int8; the embedding itself where the two are tied."""
    weight = tensors.mapped("lm_head.weight") if "lm_head.weight" in tensors else embedding
    return Linear(weight, form_for("exact" if mode == "exact" else "fast", weight.shape[1]))


def settings_of(folder: Path) -> Settings:
    """Return the model's configuration, with transformers' defaults where it leaves out what is needed.

    Most say all, and asking transformers costs seconds of imports.
    """
    config = read_config(folder)
    needed = NEEDED | NEEDED_TOO.get(config["model_type"], set())
    if needed <= config.keys() and {"rope_parameters", "rope_theta"} & config.keys():
        return config
    settings: Settings = full_config(folder).to_dict()
    return settings


def full_config(folder: Path) -> Any:
    """Return the configuration as transformers completes it."""
    from markgraph.models.safe_config import safe_config

    return safe_config(folder)


def check(config: Settings) -> None:
    """Refuse what the decoder leaves out.

    Raises:
        UnknownArchitectureError: naming the setting.
    """
    fixed = {"hidden_act": "silu", "mlp_bias": False, "use_sliding_window": False}
    wrong = {key: config[key] for key, value in fixed.items() if config.get(key, value) != value}
    window = config["max_position_embeddings"]
    if config["model_type"] == "mistral" and (config["sliding_window"] or window) < window:
        wrong["sliding_window"] = config["sliding_window"]
    if wrong:
        raise UnknownArchitectureError(
            f"The native engine doesn't know models with {wrong}. "
            "Use markgraph.engines.transformers.TransformersEngine for this one."
        )


def rotary_frequencies(folder: Path, config: Settings, head_dim: int) -> tuple[Tensor, float]:
    """Return each pair's angle a step (e / 2,), and what cosine and sine are scaled by.

    Raises:
        UnknownArchitectureError: the frequencies depend on the length.
    """
    told = config.get("rope_parameters") or {
        "rope_theta": config["rope_theta"],
        **(config.get("rope_scaling") or {}),
    }
    kind = told.get("rope_type") or told.get("type") or "default"
    if kind in ("dynamic", "longrope"):
        raise UnknownArchitectureError(
            f"The native engine doesn't know rotary positions of kind {kind!r}. "
            "Use markgraph.engines.transformers.TransformersEngine for this model."
        )
    if kind == "default":
        steps = torch.arange(0, head_dim, 2).float() / head_dim
        return 1.0 / told["rope_theta"] ** steps, 1.0
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    frequencies, scale = ROPE_INIT_FUNCTIONS[kind](full_config(folder), torch.device("cpu"))
    return frequencies, float(scale)
