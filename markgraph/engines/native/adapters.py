"""LoRA adapters (Hu et al. 2021), as PEFT saves them, added to a base that others use too.

Several adapters serve rows of one batch: each adds its product of rank r to the rows that ask for it, and
the base stays as it is. Does NOT include: DoRA, biases, adapters of embeddings or of the output matrix,
patterns of ranks, and inits that change the base (PiSSA, OLoRA, CorDA, LoftQ); merge those with PEFT first.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from markgraph.engines.native.linear import Linear
from markgraph.engines.native.llama_weights import LlamaWeights
from markgraph.errors import UsageError, WeightsError
from markgraph.models.manifest import check_manifest, refuse_code

BLOCK = 16
"""Rows that are multiplied together, padded to this: another number of rows would add in another order."""
WEIGHTS = "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
_MODULE = re.compile(r"model\.layers\.(\d+)\.(\w+\.\w+)")
_WITHOUT_EFFECT = {
    *("auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "exclude_modules", "inference_mode"),
    *("layers_pattern", "layers_to_transform", "lora_dropout", "megatron_core", "peft_version"),
    *("qalora_group_size", "revision", "runtime_config", "target_modules", "task_type"),
}
"""Settings that say nothing beyond what the tensors say, once training is done."""
_ALLOWED: Mapping[str, Sequence[Any]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
}

_ADVICE = (
    "Allowed: LoRA on attention and MLP. Merge this one into its base with PEFT (merge_and_unload), "
    "and serve the result."
)


class Part(NamedTuple):
    """What an adapter adds to some outputs of a product."""

    start: int
    """The first of these outputs."""
    down: Tensor
    """`A` of the paper, (r, k)."""
    up: Tensor
    """`B` of the paper with the adapter's scale in it, (n, r)."""


class Delta:
    """What an adapter adds to one product of the base, whose outputs may be several modules' side by side."""

    def __init__(self, outputs: int, parts: Sequence[Part]) -> None:
        self._outputs = outputs
        self._down = torch.cat([part.down for part in parts])  # (sum of r, k)
        self._ups = [(part.start, part.up) for part in parts]

    def __call__(self, h: Tensor) -> Tensor:
        """Return what is added for the inputs `h`, float32 (m, k) to (m, n)."""
        added = h.new_zeros(h.shape[0], self._outputs)
        low = torch.split(multiply(h, self._down), [up.shape[1] for _, up in self._ups], -1)  # (m, r) each
        for (start, up), each in zip(self._ups, low, strict=True):
            added[:, start : start + up.shape[0]] = multiply(each, up)
        return added


Adapter = Mapping[Linear, Delta]
"""What is added to which products of the base."""


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """Return x (m, k) times weight (n, k), the same for a row whatever rows are beside it."""
    m, k = x.shape
    blocks = torch.nn.functional.pad(x, (0, 0, 0, -m % BLOCK)).view(-1, BLOCK, k)
    return torch.bmm(blocks, weight.t().expand(len(blocks), -1, -1)).flatten(0, 1)[:m]


def load_adapter(folder: Path, weights: LlamaWeights) -> Adapter:
    """Return the PEFT adapter in `folder`, for the base with these weights.

    Args:
        folder: `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        UsageError: it is not a LoRA, or has settings or modules that are left out here.
        WeightsError: it is incomplete or damaged, or made for another base.
    """
    rank, scale, read = read_adapter(folder)
    factors = {_place(folder, module): both for module, both in read.items()}
    found: dict[Linear, list[Part]] = {}
    for (at, module), (linear, start, outputs) in _places(weights):
        if (at, module) not in factors:
            continue
        down, up = factors.pop((at, module))
        if down.shape != (rank, linear.inputs) or up.shape != (outputs, rank):
            raise WeightsError(
                f"The adapter in {folder} has {tuple(up.shape)} times {tuple(down.shape)} for {module} of "
                f"layer {at}. Allowed: {(outputs, rank)} times {(rank, linear.inputs)}. "
                "It is of another base model, or its config is another adapter's."
            )
        found.setdefault(linear, []).append(Part(start, down, up * scale))
    if factors:
        raise WeightsError(
            f"The adapter in {folder} has weights for {_listed(factors)}, which the base model lacks. "
            "It is of another base model."
        )
    return {linear: Delta(linear.outputs, parts) for linear, parts in found.items()}


def read_adapter(folder: Path) -> tuple[int, float, dict[str, tuple[Tensor, Tensor]]]:
    """Return an adapter's rank r, its scale, and by module `A` (r, k) and `B` (n, r), float32.

    Raises:
        UsageError: it is not a LoRA, or has settings that are left out here.
        WeightsError: it is incomplete or damaged.
    """
    check_manifest(folder)
    refuse_code(folder)
    config = _read_config(folder)
    rank, alpha = config["r"], config["lora_alpha"]
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank), _read_factors(folder)


def rows_by_adapter(
    adapters: Mapping[str, Adapter], names: Sequence[str | None], lengths: Sequence[int]
) -> list[tuple[Adapter, Tensor]]:
    """Return each adapter that is asked for, and the rows that ask for it.

    Args:
        names: what each sequence asks for.
        lengths: the rows of each sequence, which follow one another.
    """
    asked = [name for name, n in zip(names, lengths, strict=True) for _ in range(n)]
    return [
        (adapters[name], torch.tensor([row for row, other in enumerate(asked) if other == name]))
        for name in sorted({name for name in asked if name is not None})
    ]


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank, alpha = config["r"], config["lora_alpha"]
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"Could not read the adapter in {folder}: {error!r}. Allowed: a folder as PEFT saves a LoRA, "
            f"with adapter_config.json and {WEIGHTS}."
        ) from error
    wrong = {key: value for key, value in config.items() if not _allowed(key, value)}
    if wrong:
        raise UsageError(f"The native engine doesn't know adapters with {wrong}, as in {folder}. {_ADVICE}")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise WeightsError(
            f"The adapter in {folder} has r={rank!r} and lora_alpha={alpha!r}. Allowed: numbers, r from 1 on."
        )
    return config


def _allowed(key: str, value: Any) -> bool:
    """Tell whether a setting is one that is computed with here, or is switched off."""
    if key in _ALLOWED:
        return value in _ALLOWED[key]
    return key in {"r", "lora_alpha", "use_rslora"} | _WITHOUT_EFFECT or not value


def _place(folder: Path, module: str) -> tuple[int, str]:
    """Return the layer of a module, and its name there."""
    match = _MODULE.fullmatch(module)
    if match is None:
        raise UsageError(
            f"The native engine doesn't know adapters with weights of {module!r}, as in {folder}. {_ADVICE}"
        )
    return int(match[1]), match[2]


def _read_factors(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return `A` (r, k) and `B` (n, r), float32, by module."""
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"Could not read {folder / WEIGHTS}: {error}. Allowed: a folder as PEFT saves a LoRA, with "
            "safetensors. Save the adapter again with a current PEFT."
        ) from error
    sides: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise UsageError(
                f"The native engine doesn't know adapters with weights {name!r}, as in {folder}. {_ADVICE}"
            )
        sides.setdefault(match[1], {})[match[2]] = tensor.float()
    if halves := [module for module, both in sides.items() if len(both) < 2]:
        raise WeightsError(f"The adapter in {folder} has only one of A and B for {', '.join(halves)}.")
    return {module: (both["A"], both["B"]) for module, both in sides.items()}


def _places(weights: LlamaWeights) -> Iterator[tuple[tuple[int, str], tuple[Linear, int, int]]]:
    """Yield layer and module, and where it is in the base: product, first output, number of outputs."""
    heads, kv_heads, size, _ = weights.dims
    q, kv = heads * size, kv_heads * size
    for at, layer in enumerate(weights.layers):
        half = layer.gate_up.outputs // 2
        yield (at, "self_attn.q_proj"), (layer.qkv, 0, q)
        yield (at, "self_attn.k_proj"), (layer.qkv, q, kv)
        yield (at, "self_attn.v_proj"), (layer.qkv, q + kv, kv)
        yield (at, "self_attn.o_proj"), (layer.out, 0, layer.out.outputs)
        yield (at, "mlp.gate_proj"), (layer.gate_up, 0, half)
        yield (at, "mlp.up_proj"), (layer.gate_up, half, half)
        yield (at, "mlp.down_proj"), (layer.down, 0, layer.down.outputs)


def _listed(places: Any) -> str:
    return ", ".join(f"{module} of layer {at}" for at, module in sorted(places))
