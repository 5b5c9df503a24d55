"""Where a transformers model goes, and in which form: devices, parallel GPUs, formats that GPUs multiply."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from markgraph.errors import MissingExtraError, UsageError
from markgraph.models.machine import gpus

QUANTIZATIONS = (None, "nf4", "fp8")


@dataclass(frozen=True)
class Placement:
    """How `load_causal` puts a model onto this machine."""

    device_map: str | Mapping[str, int | str] | None = None
    """`auto` spreads the layers over all GPUs (and the rest over memory), `cuda:0` takes one, None stays on
    the processor; else a device for each module."""
    tp_plan: str | None = None
    """`auto` cuts each layer over the GPUs of a `torchrun`: tensor parallelism."""
    quantization: str | None = None
    """`nf4`: 4-bit weights by bitsandbytes. `fp8`: 8-bit floating point, on GPUs that multiply it."""

    def __post_init__(self) -> None:
        if self.quantization not in QUANTIZATIONS:
            raise UsageError(
                f"model.engine.quantization is {self.quantization!r}. Allowed: nf4, fp8, or null. "
                "For int8 and int4 use the native engine: model.engine.mode=small."
            )
        if self.device_map is not None and self.tp_plan is not None:
            raise UsageError("Got model.engine.device_map and tp_plan. Allowed: one of them. Leave one out.")

    @property
    def on_gpu(self) -> bool:
        """Tell whether the model, or a part of it, is meant for a GPU."""
        named = self.quantization is not None or self.tp_plan is not None or self.device_map is not None
        return named and self.device_map != "cpu"

    def options(self) -> dict[str, Any]:
        """Return what transformers' `from_pretrained` is to be told.

        Raises:
            UsageError: the hardware is missing.
            MissingExtraError: the package is.
        """
        options: dict[str, Any] = {"device_map": self.device_map, "tp_plan": self.tp_plan}
        # With device_map=cpu somebody has asked for it: slow, and enough to try it out.
        if self.quantization is not None and self.device_map != "cpu":
            _require_gpu(self.quantization)
            options["device_map"] = self.device_map or "cuda:0"
        if self.quantization == "nf4":
            options["quantization_config"] = _nf4()
        return {name: value for name, value in options.items() if value is not None}


def _require_gpu(quantization: str) -> None:
    found = gpus()
    if not found:
        raise UsageError(
            f"quantization={quantization} needs an NVIDIA GPU. Got: none that torch {version('torch')} uses. "
            "Choose model.engine.mode=small of the native engine instead, or install a CUDA build of torch."
        )
    if quantization == "fp8" and not any("fp8" in gpu.formats for gpu in found):
        there = ", ".join(f"{gpu.name} ({gpu.capability[0]}.{gpu.capability[1]})" for gpu in found)
        raise UsageError(
            f"quantization=fp8 needs a GPU of compute capability 8.9 or more. Got: {there}. "
            "Choose quantization=nf4, or null."
        )


def _nf4() -> Any:
    """Return the settings of QLoRA: NormalFloat, its scales quantised too (Dettmers et al. 2023)."""
    import torch
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise MissingExtraError(
            "quantization=nf4 needs bitsandbytes. Install it: pip install 'markgraph[nf4]'."
        )
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
