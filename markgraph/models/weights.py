"""Loads models with transformers, from local files only.

Does not include: engines of our own, batching, quantised compute.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError

from markgraph.errors import UsageError, WeightsError
from markgraph.models.bars import bars_for_people
from markgraph.models.manifest import check_manifest, write_manifest
from markgraph.models.placement import Placement
from markgraph.models.safe_config import check_model, safe_config
from markgraph.models.source import cache_folder

logger = logging.getLogger(__name__)

DTYPES = ("auto", "float32", "bfloat16")
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load_encoder(folder: Path) -> tuple[Any, Any]:
    """Return (tokenizer, encoder in float32) from `folder`.

    Raises:
        WeightsError: there is no such model in `folder`.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    with _quiet(), _loading(folder):
        config = safe_config(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, **_LOCAL)
        model = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            attn_implementation="sdpa",
            **_LOCAL,
        )
    return tokenizer, model.eval()


def load_cross_encoder(folder: Path) -> tuple[Any, Any]:
    """Return (tokenizer, sequence classifier in float32) from `folder`.

    Raises:
        WeightsError: there is no such model in `folder`, or it has more than two labels.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with _quiet(), _loading(folder):
        config = safe_config(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, **_LOCAL)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True, **_LOCAL
        )
        if model.config.num_labels > 2:
            raise ValueError(f"it has {model.config.num_labels} labels; a reranker has one or two")
    return tokenizer, model.eval()


def load_causal(weights: Path, dtype: str, placement: Placement | None = None) -> tuple[Any, Any]:
    """Return (tokenizer, causal language model).

    Args:
        weights: a folder with safetensors, or a GGUF file, which is dequantised once and kept in the cache.
        dtype: `float32`, `bfloat16`, or `auto` (bfloat16 where it is multiplied natively).
        placement: which devices, and which format; otherwise on the processor, as it is.

    Raises:
        UsageError: `dtype` is something else, or the placement needs other hardware.
        MissingExtraError: the placement needs a package that is not installed.
        WeightsError: there is no such model in `weights`, or no room to convert it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if dtype not in DTYPES:
        raise UsageError(f"model.engine.dtype is {dtype!r}. Allowed: {', '.join(DTYPES)}.")
    placement = placement or Placement()
    options = placement.options()
    folder = safetensors_folder(weights)
    with _quiet(), _loading(folder):
        config = safe_config(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, config=config, **_LOCAL)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, _chosen(dtype, placement)),
            use_safetensors=True,
            **options,
            **_LOCAL,
        )
    if placement.quantization == "fp8":
        from markgraph.models.fp8 import to_fp8

        to_fp8(model)
    return tokenizer, model.eval()


def load_tokenizer(weights: Path) -> Any:
    """Return the tokenizer of a folder or a GGUF file, whose tokenizer is read once and kept in the cache.

    Raises:
        WeightsError: there is none.
    """
    folder = weights
    if weights.suffix == ".gguf":
        converted = _place(weights, "converted")
        folder = converted if converted.exists() else made_once(weights, "tokenizers", _convert_tokenizer)
    with _quiet(), _loading(folder):
        check_model(folder)
        return _tokenizer_class(folder).from_pretrained(folder, **_LOCAL)


def _tokenizer_class(folder: Path) -> Any:
    """Return what transformers would choose; asking it for the usual one costs seconds of imports."""
    from transformers import PreTrainedTokenizerFast

    told = folder / "tokenizer_config.json"
    named = json.loads(told.read_text("utf-8")).get("tokenizer_class") if told.exists() else None
    if named == PreTrainedTokenizerFast.__name__:
        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def _chosen(dtype: str, placement: Placement) -> str:
    """Return the dtype that `auto` stands for."""
    if dtype != "auto":
        return dtype
    return "bfloat16" if placement.on_gpu else best_dtype()


def best_dtype() -> str:
    """Return `bfloat16` where matrix units make it faster than `float32` on this processor.

    Elsewhere bfloat16 is 4 to 8 times slower than float32, so a wrong yes costs more than a wrong no.
    """
    flags = Path("/proc/cpuinfo")
    known = flags.read_text(errors="replace").split() if flags.exists() else []
    return "bfloat16" if "amx_bf16" in known or "avx512_bf16" in known else "float32"


def safetensors_folder(weights: Path) -> Path:
    """Return the folder `weights`, or one with the dequantised safetensors of the GGUF file `weights`.

    A file is converted at the first call (about 15 s for 135 M parameters), and kept in the cache.

    Raises:
        WeightsError: it cannot be converted, or there is no room for that.
    """
    if weights.suffix != ".gguf":
        return weights
    return made_once(weights, "converted", _convert)


def _place(gguf: Path, shelf: str) -> Path:
    """Return where the cache keeps what is made from `gguf`, as it is now."""
    stat = gguf.stat()
    key = sha256(f"{gguf.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    return cache_folder() / shelf / f"{gguf.stem}-{key}"


def conversions(gguf: Path) -> list[Path]:
    """Return the folders that were made from `gguf`, as it is now."""
    places = (_place(gguf, shelf) for shelf in ("converted", "tokenizers"))
    return [place for place in places if place.is_dir()]


def made_once(gguf: Path, shelf: str, make: Callable[[Path, Path], None]) -> Path:
    """Return the folder on `shelf` that `make(gguf, folder)` fills at the first call."""
    return filled_once(_place(gguf, shelf), partial(make, gguf), f"convert {gguf}")


def filled_once(target: Path, fill: Callable[[Path], None], what: str) -> Path:
    """Return the folder `target`, which `fill` makes at the first call: as a whole, or not at all.

    Args:
        target: where it is to be.
        fill: writes into the folder that it is given.
        what: what it does, for a log and an error: `convert model.gguf`.

    Raises:
        WeightsError: it can't be written, or is not as it was.
    """
    if target.exists():
        check_manifest(target)
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.exists():
                logger.info("About to %s, once, into %s.", what, target)
                draft = Path(f"{target}.converting")
                shutil.rmtree(draft, ignore_errors=True)  # left by a killed process; the lock is ours
                draft.mkdir()
                try:
                    fill(draft)
                    write_manifest(draft)
                    draft.rename(target)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
    except (OSError, SafetensorError) as error:  # the latter too when the disk is full
        raise WeightsError(
            f"Could not {what} into {target.parent}: {error}. Free some space there and check the "
            "permissions, or set MARKGRAPH_CACHE to another folder."
        ) from error
    return target


def _convert_tokenizer(gguf: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    with bars_for_people(), _quiet(), _loading(gguf):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, **_LOCAL)
        tokenizer.save_pretrained(folder)


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    with bars_for_people(), _quiet(), _loading(gguf):
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            **_LOCAL,
        )
    with bars_for_people():
        model.save_pretrained(folder)
    _convert_tokenizer(gguf, folder)


@contextmanager
def _loading(place: Path) -> Iterator[None]:
    """Raise `WeightsError` for what transformers says of files that it can't load."""
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        told = " ".join(str(error).split()).rstrip(".")
        raise WeightsError(
            f"Could not load the model in {place}: {told}. Allowed: a folder with config.json, a tokenizer "
            "and safetensors, or a .gguf file, of an architecture that transformers knows. "
            "Correct the source."
        ) from error


class _quiet:  # noqa: N801 -- reads as a statement
    """Keeps transformers' own progress bars off the terminal for a while."""

    def __enter__(self) -> None:
        from transformers.utils import logging as hub_logging

        self._was_on = hub_logging.is_progress_bar_enabled()
        hub_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging as hub_logging

        if self._was_on:
            hub_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
