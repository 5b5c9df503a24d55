"""Reads a checkpoint into the decoder of its kind, weight by weight: no copy of the whole is ever held."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from markgraph.engines.native.adapters import load_adapter
from markgraph.engines.native.decoder import Decoder
from markgraph.engines.native.glue import Dims
from markgraph.engines.native.linear import BLOCKS, Form, Linear
from markgraph.engines.native.llama import LlamaDecoder
from markgraph.engines.native.llama_weights import Layer, LlamaWeights
from markgraph.engines.native.probe import serving
from markgraph.errors import UsageError, WeightsError

MODES = {"exact": "float32", "fast": "int8", "small": "int4"}
"""What a mode keeps the weights of a Transformer's layers as."""


NO_ADAPTERS: Mapping[str, Path] = {}


def load_decoder(folder: Path, mode: str, adapters: Mapping[str, Path] = NO_ADAPTERS) -> Decoder:
    """Return the decoder of the checkpoint in `folder`.

    Args:
        folder: `config.json` and safetensors, as transformers saves them.
        mode: `exact` (float32), `fast` (the default's), or `small` (least memory).
        adapters: folders of PEFT LoRA adapters, by the names that `Decoder.open` takes.

    Raises:
        UsageError: `mode` is something else, the architecture is none of the native ones, or an adapter is
            of a kind that it does not take.
        WeightsError: `folder` holds no such checkpoint, or an adapter's no adapter for it.
    """
    if mode not in MODES:
        raise UsageError(f"The mode is {mode!r}. Allowed: {', '.join(MODES)}.")
    config = read_config(folder)
    kind = config.get("model_type")
    if kind not in KINDS:
        raise UsageError(
            f"The model in {folder} is of type {kind!r}, which the native engine doesn't know. Known: "
            f"{', '.join(KINDS)}. Use markgraph.engines.transformers.TransformersEngine for it."
        )
    decoder = KINDS[kind](folder, mode)
    if adapters:
        if not isinstance(decoder, LlamaDecoder):
            raise UsageError(
                f"The native engine reads models of type {kind!r} without adapters. Asked for: "
                f"{', '.join(adapters)}. Merge an adapter into the model with PEFT (merge_and_unload)."
            )
        for name, each in adapters.items():
            decoder.adapters[name] = load_adapter(each, decoder.weights)
    return decoder


def native(folder: Path) -> bool:
    """Tell whether `load_decoder` knows the architecture in `folder`."""
    return read_config(folder).get("model_type") in KINDS


def read_config(folder: Path) -> dict[str, Any]:
    """Return the model's configuration as plain data.

    Raises:
        WeightsError: there is none.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"Could not read {folder / 'config.json'}: {error}. Allowed: a folder as transformers saves one."
        ) from error
    return config


class Checkpoint:
    """The tensors in a folder's safetensors files, read one at a time."""

    def __init__(self, folder: Path) -> None:
        self._open = ExitStack()
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise WeightsError(
                f"There are no safetensors in {folder}. Allowed: a folder as transformers saves one."
            )
        opened = [self._open.enter_context(safe_open(file, framework="pt")) for file in files]
        self._where = {name: file for file in opened for name in file.keys()}  # noqa: SIM118

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor as it is stored.

        Raises:
            WeightsError: there is none of that name.
        """
        if name not in self._where:
            raise WeightsError(f"The checkpoint holds no {name!r}. It is incomplete, or of another kind.")
        tensor: Tensor = self._where[name].get_tensor(name)
        return tensor

    def stacked(self, *names: str) -> Tensor:
        """Return matrices or vectors on top of each other, in float32."""
        return torch.cat([self[name].float() for name in names])


def load_llama(folder: Path, mode: str) -> LlamaDecoder:
    """Return the decoder of a Llama-kind checkpoint."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    check_llama(config)
    form = form_for(mode, config)
    head_dim = config.to_dict().get("head_dim") or config.hidden_size // config.num_attention_heads
    with Checkpoint(folder) as tensors:
        embedding = tensors["model.embed_tokens.weight"]
        frequencies, scale = rotary_frequencies(config, head_dim)
        weights = LlamaWeights(
            embedding=embedding.float() if mode == "exact" else embedding.bfloat16(),
            layers=[load_layer(tensors, at, form) for at in range(config.num_hidden_layers)],
            norm=tensors["model.norm.weight"].float(),
            head=load_head(tensors, embedding, mode),
            dims=Dims(config.num_attention_heads, config.num_key_value_heads, head_dim, config.rms_norm_eps),
            inverse_frequencies=frequencies,
            rotary_scale=scale,
            window=config.max_position_embeddings,
            form=form,
        )
    return LlamaDecoder(weights, torch.float32 if mode == "exact" else torch.bfloat16)


def form_for(mode: str, config: Any) -> Form:
    """Return what `mode` keeps the layers as: bfloat16 where the blocks of its form don't divide them."""
    name, sizes = MODES[mode], (config.hidden_size, config.intermediate_size)
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


def load_head(tensors: Checkpoint, embedding: Tensor, mode: str) -> Linear:
    """Return the output matrix, never below int8; the embedding itself where the two are tied."""
    weight = tensors["lm_head.weight"] if "lm_head.weight" in tensors else embedding  # noqa: SIM401
    name = "float32" if mode == "exact" else "int8"
    whole = weight.shape[1] % BLOCKS.get(name, 1) == 0
    form = serving(name if whole else "bfloat16", torch.get_num_threads())
    return Linear(weight.float(), form)


def check_llama(config: Any) -> None:
    """Refuse what the decoder leaves out.

    Raises:
        UsageError: naming the setting.
    """
    fixed = {"hidden_act": "silu", "mlp_bias": False, "use_sliding_window": False}
    settings: Mapping[str, Any] = config.to_dict()
    wrong = {key: settings[key] for key, value in fixed.items() if settings.get(key, value) != value}
    if config.model_type == "mistral" and (
        settings.get("sliding_window") or config.max_position_embeddings
    ) < (config.max_position_embeddings):
        wrong["sliding_window"] = settings["sliding_window"]
    if wrong:
        raise UsageError(
            f"The native engine doesn't know models with {wrong}. "
            "Use markgraph.engines.transformers.TransformersEngine for this one."
        )


def rotary_frequencies(config: Any, head_dim: int) -> tuple[Tensor, float]:
    """Return each pair's angle a step (e / 2,), and what cosine and sine are scaled by.

    Raises:
        UsageError: the frequencies depend on the length.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    kind = config.rope_parameters["rope_type"]
    if kind in ("dynamic", "longrope"):
        raise UsageError(
            f"The native engine doesn't know rotary positions of kind {kind!r}. "
            "Use markgraph.engines.transformers.TransformersEngine for this model."
        )
    if kind == "default":
        steps = torch.arange(0, head_dim, 2).float() / head_dim
        return 1.0 / config.rope_parameters["rope_theta"] ** steps, 1.0
    frequencies, scale = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    return frequencies, float(scale)


def load_recurrent(folder: Path, mode: str) -> Decoder:
    """Return the decoder of a Mamba checkpoint."""
    from markgraph.engines.native.mamba import load_mamba

    return load_mamba(folder, mode)


def load_state_space(folder: Path, mode: str) -> Decoder:
    """Return the decoder of a Mamba-2 checkpoint."""
    from markgraph.engines.native.mamba2 import load_mamba2

    return load_mamba2(folder, mode)


KINDS: dict[str, Callable[[Path, str], Decoder]] = {
    "llama": load_llama,
    "mistral": load_llama,
    "qwen2": load_llama,
    "qwen3": load_llama,
    "mamba": load_recurrent,
    "falcon_mamba": load_recurrent,
    "mamba2": load_state_space,
}
"""Loaders by `model_type`."""
