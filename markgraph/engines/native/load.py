"""Reads a checkpoint into the decoder of its kind, weight by weight: no copy of the whole is ever held."""

import ctypes
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor

from markgraph.engines.native.adapters import load_adapter
from markgraph.engines.native.decoder import Decoder
from markgraph.engines.native.llama import LlamaDecoder
from markgraph.errors import UnknownArchitectureError, UsageError, WeightsError
from markgraph.models.manifest import check_manifest, refuse_code

MODES = {"exact": "float32-onednn", "fast": "int8", "small": "int4"}
"""What a mode keeps the weights of a Transformer's layers as."""
SOME = 4
"""After so many blocks what they took is given back: after each, loading would be a fifth slower."""
_Part = TypeVar("_Part")
NO_ADAPTERS: Mapping[str, Path] = {}


def load_decoder(folder: Path, mode: str, adapters: Mapping[str, Path] = NO_ADAPTERS) -> Decoder:
    """Return the decoder of the checkpoint in `folder`.

    Args:
        folder: `config.json` and safetensors, as transformers saves them.
        mode: `exact` (float32), `fast` (the default's), or `small` (least memory).
        adapters: folders of PEFT LoRA adapters, by the names that `Decoder.open` takes.

    Raises:
        UnknownArchitectureError: the architecture is none of the native ones.
        UsageError: `mode` is something else, or an adapter is of a kind that it does not take.
        WeightsError: `folder` holds no such checkpoint, or an adapter's no adapter for it.
    """
    check_mode(mode)
    check_manifest(folder)
    refuse_code(folder)
    config = read_config(folder)
    kind = config.get("model_type")
    if kind not in KINDS:
        raise UnknownArchitectureError(
            f"The model in {folder} is of type {kind!r}, which the native engine doesn't know. Known: "
            f"{', '.join(KINDS)}. Use markgraph.engines.transformers.TransformersEngine for it."
        )
    decoder = KINDS[kind](folder, mode)
    give_back()
    if adapters:
        if not isinstance(decoder, LlamaDecoder):
            raise UsageError(
                f"The native engine reads models of type {kind!r} without adapters. Asked for: "
                f"{', '.join(adapters)}. Name one as the engine's `adapter`: that is merged into the model."
            )
        for name, each in adapters.items():
            decoder.adapters[name] = load_adapter(each, decoder.weights)
    return decoder


def check_mode(mode: str) -> None:
    """Refuse a mode that there isn't.

    Raises:
        UsageError: saying what there is.
    """
    if mode not in MODES:
        raise UsageError(f"The mode is {mode!r}. Allowed: {', '.join(MODES)}.")


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
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise WeightsError(
                f"There are no safetensors in {folder}. Allowed: a folder as transformers saves one."
            )
        self._where: dict[str, Path] = {}
        for file in files:
            with safe_open(file, framework="pt") as opened:
                self._where |= dict.fromkeys(opened.keys(), file)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor as it is stored, in memory of its own; raises what `mapped` does."""
        return self.mapped(name).clone()

    def mapped(self, name: str) -> Tensor:
        """Return a tensor as it lies in its file, which stays in memory for as long as the tensor does.

        Raises:
            WeightsError: there is none of that name.
        """
        if name not in self._where:
            raise WeightsError(f"The checkpoint holds no {name!r}. It is incomplete, or of another kind.")
        with safe_open(self._where[name], framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor

    def stacked(self, *names: str) -> Tensor:
        """Return matrices or vectors on top of each other, in float32."""
        return torch.cat([self.mapped(name).float() for name in names])


def give_back() -> None:
    """Give the system back what was freed: glibc keeps it, several times as much as a small form takes."""
    if trim := _trim():
        trim(0)


def sparingly(parts: Iterable[_Part]) -> Iterator[_Part]:
    """Yield what is loaded part by part, with little memory in between."""
    for at, part in enumerate(parts):
        yield part
        if at % SOME == SOME - 1:
            give_back()


@cache
def _trim() -> Any:
    """Return glibc's `malloc_trim`, or None where there is another library."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


def load_llama(folder: Path, mode: str) -> Decoder:
    """Return the decoder of a Llama-kind checkpoint."""
    from markgraph.engines.native.load_llama import load

    return load(folder, mode)


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
