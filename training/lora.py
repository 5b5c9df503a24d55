"""LoRA (Hu et al. 2021): which matrices of which family get an adapter, and how large it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markgraph.training.allowed import at_least, check, more_than
from markgraph.training.extra import peft

_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_TARGETS: dict[str, tuple[str, ...] | str] = {
    "llama": _LINEAR,
    # PEFT refuses out_proj and conv1d of these: the fused kernels read their weights past the adapter.
    "mamba": ("in_proj", "x_proj"),
    "mamba2": ("in_proj",),
}


@dataclass(frozen=True)
class Lora:
    """The settings of an adapter: W + alpha/r · BA, where A is (r, k) and B is (n, r)."""

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: Sequence[str] | None = None
    """Modules that get one; None: all matrices of attention and MLP, or what PEFT allows of Mamba's."""
    kept: float = 1.0
    """Part of the change that is kept in the end, over 0 up to 1.

    Between base and trained model there is often one that has learned as much, and forgotten less (WiSE-FT,
    Wortsman et al. 2022).
    """

    def __post_init__(self) -> None:
        at_least(self, 1, "r", of="method.lora")
        more_than(self, 0, "alpha", of="method.lora")
        check("method.lora.dropout", self.dropout, 0 <= self.dropout < 1, "from 0, and below 1")
        check("method.lora.kept", self.kept, 0 < self.kept <= 1, "more than 0, at most 1")

    def config(self, family: str, task: str = "CAUSAL_LM") -> Any:
        """Return PEFT's settings for a model of that family."""
        targets = list(self.targets) if self.targets else _TARGETS.get(family, "all-linear")
        return peft().LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            task_type=task,
        )
