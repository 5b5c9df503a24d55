"""Writes a model in the form of another engine, and checks that it still thinks the same.

Does NOT include: number formats below float16, models with a recurrent state, tokenizers as ONNX.
"""

import hashlib
import importlib.util
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock

from markgraph.errors import MissingExtraError, QualityError, StorageError, UsageError
from markgraph.models.source import cache_folder, resolve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from markgraph.models.export_step import Shapes

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_TEXT = (
    "The supplier shall notify the customer within 48 hours. Payment is due within 30 days of the invoice."
)
_ALONE = 6
"""So many tokens at the end of the text are read one by one, as an answer is."""


class Reader(Protocol):
    """A text that another engine reads."""

    def read(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Read some tokens, and return the logits after the last of them, (v,)."""


@dataclass(frozen=True)
class Form:
    """A form that a model can be written in."""

    write: Callable[[Any, "Shapes", Path], None]
    open: Callable[[Path, "Shapes"], Reader]
    weights: str
    """The number format of the weights."""
    tolerance: float
    """How far logits may be from the original's, as a share of the largest."""
    needs: tuple[str, ...]
    """Packages."""
    extra: str
    """The extra that holds them."""


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how near it is to the original."""

    to: str
    folder: Path
    weights: str
    """The number format of the weights."""
    bytes: int
    tokens_compared: int
    largest_difference: float
    """Of any logit, as a share of the largest logit."""
    top1_agreement: float
    """The share of tokens after which both think the same next one likeliest."""


def export_model(source: str, sha256: str | None, to: str, folder: Path, name: str) -> ExportReport:
    """Write the model of `source` as `onnx`, `openvino` or `triton`, with its tokenizer.

    What is incomplete never lies in `folder`: it is written beside it, compared, and moved. After an
    interruption the same call begins anew, and clears away what was left.

    Args:
        source: a GGUF file or a safetensors folder, as `markgraph.models.source.resolve` takes it.
        sha256: what its digest must be; None takes what comes.
        to: the form.
        folder: what to write: a new or empty folder; for `triton` a model repository, which may hold others.
        name: the folder of the model in the repository, and its name at the server.

    Raises:
        UsageError: there is no such form, something is there already, or such a model can't be exported.
        MissingExtraError: a package is not installed.
        QualityError: what was written does not think what the original thinks.
        StorageError: it could not be written.
    """
    form = _form(to)
    if not _NAME.fullmatch(name):
        raise UsageError(f"name is {name!r}. Allowed: letters, digits, '.', '_' and '-'. Choose another.")
    target = (folder / name if to == "triton" else folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already. Allowed: a new or an empty folder. Choose another.")
    weights = resolve(source, sha256)
    try:
        with _draft(target) as draft:
            report = _write(weights, form, to, draft, target)
            draft.replace(target)
    except OSError as error:
        raise StorageError(
            f"Could not write {target}: {error}. Free some space there and check the permissions."
        ) from error
    return report


def _write(weights: Path, form: Form, to: str, draft: Path, target: Path) -> ExportReport:
    from markgraph.models.export_step import shapes_of
    from markgraph.models.weights import load_causal

    tokenizer, model = load_causal(weights, "float32")
    shapes = shapes_of(model)
    with warnings.catch_warnings():
        # The tracers warn of their own code, and of Python values that the model's config settles.
        warnings.simplefilter("ignore")
        form.write(model, shapes, draft)
    _write_settings(model, tokenizer, draft / "tokenizer" if to == "triton" else draft)
    count, difference, agreement = _compare(form.open(draft, shapes), tokenizer, model)
    if difference > form.tolerance:
        raise QualityError(
            f"The {to} model's logits are off by {difference:.2g} of the largest. Allowed: "
            f"{form.tolerance:g}. Nothing was kept. Serve this model with MARK's own engines, or with vLLM."
        )
    size = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
    return ExportReport(to, target, form.weights, size, count, difference, agreement)


def _write_settings(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer with its chat template, the window and the end tokens."""
    tokenizer.save_pretrained(folder)
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)


def _compare(sequence: Reader, tokenizer: Any, model: Any) -> tuple[int, float, float]:
    """Return (tokens compared, largest difference of a logit, top-1 agreement)."""
    import torch

    ids = tokenizer(_TEXT).input_ids
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0, -_ALONE - 1 :]  # (n, v)
    got = [sequence.read(ids[:-_ALONE]), *(sequence.read([token]) for token in ids[-_ALONE:])]
    found = torch.stack([torch.from_numpy(logits) for logits in got])  # (n, v)
    difference = (found - expected).abs().max() / expected.abs().max()
    agreement = (found.argmax(-1) == expected.argmax(-1)).float().mean()
    return len(got), float(difference), float(agreement)


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Give an empty folder named like `target` on the same disk; what is left in it afterwards is deleted."""
    key = hashlib.sha256(str(target).encode()).hexdigest()[:16]
    lock = cache_folder() / "exports" / f"{key}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    desk = target.parent / f".{target.name}.exporting"
    with FileLock(lock):
        shutil.rmtree(desk, ignore_errors=True)  # left by a killed process; the lock is ours
        draft = desk / target.name
        draft.mkdir(parents=True)
        try:
            yield draft
        finally:
            shutil.rmtree(desk, ignore_errors=True)


def _form(to: str) -> Form:
    """Return the form named `to`, its packages looked for.

    Raises:
        UsageError: there is no such form.
        MissingExtraError: a package is not installed.
    """
    if to not in _FORMS:
        raise UsageError(f"to is {to!r}. Allowed: {', '.join(_FORMS)}. Choose one.")
    form = _FORMS[to]
    if missing := [package for package in form.needs if importlib.util.find_spec(package) is None]:
        raise MissingExtraError(
            f"An export to {to} needs {', '.join(missing)}: pip install 'markgraph[{form.extra}]'."
        )
    return form


def _write_onnx(model: Any, shapes: "Shapes", folder: Path) -> None:
    from markgraph.models.export_onnx import write_onnx

    write_onnx(model, shapes, folder)


def _write_triton(model: Any, shapes: "Shapes", folder: Path) -> None:
    from markgraph.models.export_onnx import write_triton

    write_triton(model, shapes, folder)


def _write_openvino(model: Any, shapes: "Shapes", folder: Path) -> None:
    from markgraph.models.export_openvino import write_openvino

    write_openvino(model, shapes, folder)


def _open_onnx(folder: Path, shapes: "Shapes") -> Reader:
    from markgraph.models.export_onnx import MODEL, OnnxSequence

    return OnnxSequence(folder / MODEL, shapes)


def _open_triton(folder: Path, shapes: "Shapes") -> Reader:
    return _open_onnx(folder / "1", shapes)


def _open_openvino(folder: Path, _: "Shapes") -> Reader:
    from markgraph.engines.openvino_model import OpenVinoModel
    from markgraph.models.machine import processor

    return OpenVinoModel(folder, "CPU", processor().threads, accurate=True).open()


_ONNX = ("onnx", "onnxruntime", "onnxscript")
_FORMS = {
    "onnx": Form(_write_onnx, _open_onnx, "float32", 1e-3, _ONNX, "export"),
    "openvino": Form(_write_openvino, _open_openvino, "float16", 2e-2, ("openvino",), "openvino"),
    "triton": Form(_write_triton, _open_triton, "float32", 1e-3, _ONNX, "export"),
}
"""Functions that import when they are called: to know the forms takes no torch."""
