"""Writes a Mamba in safetensors as GGUF, for llama.cpp to read.

Tensor names and layouts are those of llama.cpp's `convert_hf_to_gguf.py`: A is kept as -exp(A_log).
Does NOT include: Mamba-2, a tokenizer; the bench hands llama.cpp token ids.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter
from safetensors.numpy import load_file

NAMES = {
    "backbone.embeddings.weight": "token_embd.weight",
    "backbone.norm_f.weight": "output_norm.weight",
    "norm.weight": "attn_norm.weight",
    "mixer.in_proj.weight": "ssm_in.weight",
    "mixer.conv1d.weight": "ssm_conv1d.weight",
    "mixer.conv1d.bias": "ssm_conv1d.bias",
    "mixer.x_proj.weight": "ssm_x.weight",
    "mixer.dt_proj.weight": "ssm_dt.weight",
    "mixer.dt_proj.bias": "ssm_dt.bias",
    "mixer.A_log": "ssm_a",
    "mixer.D": "ssm_d",
    "mixer.out_proj.weight": "ssm_out.weight",
}


def write_mamba(folder: Path, target: Path) -> None:
    """Write the Mamba in `folder` to `target`, in float32."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    writer = GGUFWriter(target, "mamba")
    writer.add_context_length(2**20)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_ssm_conv_kernel(config["conv_kernel"])
    writer.add_ssm_inner_size(config["intermediate_size"])
    writer.add_ssm_state_size(config["state_size"])
    writer.add_ssm_time_step_rank(config["time_step_rank"])
    writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config["vocab_size"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        renamed = _renamed(name)
        if renamed:
            writer.add_tensor(renamed, _laid_out(name, tensor.astype(np.float32)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _renamed(name: str) -> str | None:
    """Return llama.cpp's name of a tensor; None for the head, which is the embedding."""
    if name == "lm_head.weight":
        return None
    if not name.startswith("backbone.layers."):
        return NAMES[name]
    layer, rest = name.removeprefix("backbone.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[rest]}"


def _laid_out(name: str, tensor: Any) -> Any:
    """Return a tensor as llama.cpp keeps it."""
    if name.endswith("A_log"):
        return -np.exp(tensor)
    if name.endswith("conv1d.weight"):
        return tensor[:, 0]  # (d_inner, 1, width)
    return tensor
