"""What a run of the engine suite measures on: MARK's engine, its rivals, and how much is asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markgraph.bench.folders import random_model, without_end
from markgraph.bench.limit import Limit, measure_limit
from markgraph.bench.mamba_gguf import write_mamba
from markgraph.bench.processes import Setting
from markgraph.bench.prompts import Prompts
from markgraph.models.machine import processor
from markgraph.models.source import cache_folder, resolve
from markgraph.models.weights import load_tokenizer, safetensors_folder

MARK = "MARK"
RIVALS = {"llamacpp": "llama.cpp", "openvino": "OpenVINO", "transformers": "transformers"}
"""How `rival=` calls them, and the table."""
INSTALL = {
    "llamacpp": "pip install 'markgraph[llamacpp]'",
    "openvino": "pip install 'markgraph[openvino]'",
    "transformers": "pip install transformers torch",
}
ENVIRONMENT = {"GOMP_SPINCOUNT": "10000"}
"""As MARK's command line sets it."""
MASK = {
    "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16",
    "DNNL_MAX_CPU_ISA": "AVX512_CORE_BF16",
    "MKL_ENABLE_INSTRUCTIONS": "AVX512",
}
"""Keeps the libraries from using AMX."""


@dataclass(frozen=True)
class Sizes:
    """Tokens, unless said otherwise."""

    long: int = 1500
    medium: int = 512
    short: int = 64
    answer: int = 64
    requests: int = 16
    """How many at once."""
    each: int = 128
    """The prompt of each of them."""
    each_answer: int = 48
    prefix: int = 1400
    near: int = 1024
    far: int = 32768


QUICK = Sizes(192, 96, 16, 8, 4, 24, 12, 160, 64, 256)
"""For a first look, and for tests: says little of real sizes."""


@dataclass(frozen=True)
class Plan:
    """What a suite is measured on."""

    engine: Mapping[str, Any]
    """The config of MARK's engine."""
    rivals: tuple[str, ...]
    """Who is measured beside it, as `rival=` calls them."""
    threads: int
    quick: bool = False
    python: str | None = None
    """The interpreter that has the rivals installed; None for this one."""

    @property
    def sizes(self) -> Sizes:
        """Return how much is asked."""
        return QUICK if self.quick else Sizes()

    @cached_property
    def weights(self) -> Path:
        """Return the model's file or folder."""
        return resolve(self.engine["source"], self.engine.get("sha256"))

    @cached_property
    def folder(self) -> Path:
        """Return a folder with the model, whose answers don't end by themselves."""
        return without_end(self.ending)

    @cached_property
    def prompts(self) -> Prompts:
        """Return the prompts, in the model's tokens."""
        return Prompts(load_tokenizer(self.folder))

    @cached_property
    def mamba(self) -> Path:
        """Return a folder with a Mamba of 130 M random weights."""
        return random_model("mamba", self.prompts.tokenizer, small=self.quick)

    @cached_property
    def mamba2(self) -> Path:
        """Return a folder with a Mamba-2 of 130 M random weights."""
        return random_model("mamba2", self.prompts.tokenizer, small=self.quick)

    @cached_property
    def mamba_gguf(self) -> Path:
        """Return the same Mamba as a GGUF file."""
        target = self.mamba.with_suffix(".gguf")
        if not target.exists():
            draft = target.with_suffix(".making")
            write_mamba(self.mamba, draft)
            draft.rename(target)
        return target

    @cached_property
    def ending(self) -> Path:
        """Return the model's own folder: its answers end where it says so."""
        return safetensors_folder(self.weights)

    @property
    def has_amx(self) -> bool:
        """Tell whether this machine has AMX."""
        return any(unit.startswith("AMX") for unit in processor().matrix_units)

    @cached_property
    def limit(self) -> Limit:
        """Return how fast memory lets one request be decoded."""
        return measure_limit(self.folder, self.engine.get("mode", "fast"), self.threads)

    def mark(
        self, folder: Path | None = None, *, masked: bool = False, fresh: bool = False, **changes: Any
    ) -> Setting:
        """Return MARK on `folder` (its own model without one), with settings of the engine changed."""
        # Ungated: the row `quality` says what a mode costs, and random weights have no quality to lose.
        ungated = {"gate": False} if "gate" in self.engine else {}
        place = {"source": f"file:{folder or self.folder}", "sha256": None} | ungated
        return Setting(
            engine=MARK,
            module="mark.py",
            arguments={"engine": {**self.engine, **place, **changes}},
            environment=ENVIRONMENT | (MASK if masked else {}),
            fresh=fresh,
        )

    def decoder(self, mode: str, *, fresh: bool = False) -> Setting:
        """Return MARK's decoder alone, in a mode."""
        arguments = {"folder": str(self.folder), "mode": mode, "threads": self.threads}
        return Setting(MARK, "decoders.py", arguments, mode, environment=ENVIRONMENT, fresh=fresh)

    def transformers(self, dtype: str = "bfloat16", folder: Path | None = None) -> tuple[Setting, ...]:
        """Return transformers' own modules on `folder` (MARK's own model without one)."""
        arguments = {"folder": str(folder or self.folder), "threads": self.threads, "dtype": dtype}
        return (self._rival("transformers", arguments, dtype),)

    def openvino(self) -> tuple[Setting, ...]:
        """Return OpenVINO on the model's GGUF file; nothing where it is none."""
        if self.weights.suffix != ".gguf":
            return ()
        arguments = {"weights": str(self.weights), "threads": self.threads}
        return (self._rival("openvino", arguments, "the GGUF file"),)

    def llamacpp(self, window: int, requests: int = 1) -> tuple[Setting, ...]:
        """Return ways to set up llama.cpp for requests of `window` tokens; nothing without a GGUF file."""
        if self.weights.suffix != ".gguf":
            return ()
        settings = [self._llama(self.weights, window, requests, flash=True)]
        for flash in (True, False):
            for batch in (512, 2048):
                settings.append(self._llama(self.weights, window, requests, "Q4_0", flash=flash, batch=batch))
        return tuple(settings)

    def llamacpp_mamba(self) -> tuple[Setting, ...]:
        """Return the way to set up llama.cpp for the random Mamba, whose scan knows no flash attention."""
        return (self._llama(self.mamba_gguf, self.sizes.long + 128, 1, "Q4_0", flash=False),)

    def _llama(
        self,
        weights: Path,
        window: int,
        requests: int,
        form: str | None = None,
        *,
        flash: bool,
        batch: int = 512,
    ) -> Setting:
        """Return one way: as the file is, or as `form`, which is written from it once."""
        shelf = cache_folder() / "bench"
        shelf.mkdir(parents=True, exist_ok=True)
        other = str(shelf / f"{weights.stem}-{weights.stat().st_size}.{form}.gguf")
        arguments = {
            "weights": str(weights),
            "requantised": other if form else None,
            "threads": self.threads,
            "window": window,
            "requests": requests,
            "flash": flash,
            "micro_batch": batch,
        }
        words = (form or "the file as it is", f"{'' if flash else 'no '}flash attention", f"ubatch {batch}")
        return self._rival("llamacpp", arguments, ", ".join(words))

    def _rival(self, name: str, arguments: dict[str, Any], words: str) -> Setting:
        return Setting(
            engine=RIVALS[name],
            module=f"{name}.py",
            arguments=arguments,
            words=words,
            install=INSTALL[name],
            python=self.python,
        )
