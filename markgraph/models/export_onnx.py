"""Writes a model as ONNX, in float32, and as a model of a Triton repository."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markgraph.models.export_step import INPUTS, OUTPUT, Shapes, Step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MODEL = "model.onnx"
_OPSET = 20


def write_onnx(model: Any, shapes: Shapes, folder: Path) -> None:
    """Write model.onnx of the transformers model `model`; its weights are in model.onnx.data."""
    import torch

    rows, new, whole, past = "batch", "new", "whole", "past"
    sizes: dict[str, Any] = {
        "input_ids": {0: rows, 1: new},
        "attention_mask": {0: rows, 1: whole},
        "position_ids": {0: rows, 1: new},
        "past": tuple({0: rows, 2: past} for _ in shapes.past_names()),
    }
    with torch.inference_mode(), _quiet():
        torch.onnx.export(
            Step(model).eval(),
            shapes.example(),
            folder / MODEL,
            input_names=[*INPUTS, *shapes.past_names()],
            output_names=[OUTPUT, *shapes.present_names()],
            opset_version=_OPSET,
            dynamo=True,
            dynamic_shapes=sizes,
            external_data=True,
            verbose=False,
        )


def write_triton(model: Any, shapes: Shapes, folder: Path) -> None:
    """Write `model` as a model of a Triton repository: config.pbtxt, and ONNX as its version 1.

    The server's ONNX Runtime backend loads it. It keeps no text between two requests: keys and values go to
    the client and come back, as tensors.
    Source: Triton's model repository and model configuration.
    """
    version = folder / "1"
    version.mkdir()
    write_onnx(model, shapes, version)
    (folder / "config.pbtxt").write_text(triton_config(folder.name, shapes), "utf-8")


def triton_config(name: str, shapes: Shapes) -> str:
    """Return the config.pbtxt of the model that Triton shall know as `name`."""
    kept = [-1, shapes.heads, -1, shapes.head_dim]
    ins = [_tensor(part, "INT64", [-1, -1]) for part in INPUTS]
    ins += [_tensor(part, "FP32", kept) for part in shapes.past_names()]
    outs = [_tensor(OUTPUT, "FP32", [-1, -1, shapes.vocabulary])]
    outs += [_tensor(part, "FP32", kept) for part in shapes.present_names()]
    # 0: the batch is one of the dimensions, and Triton puts no requests together.
    head = f'name: "{name}"\nbackend: "onnxruntime"\nmax_batch_size: 0\n'
    return head + f"input [\n{_joined(ins)}]\noutput [\n{_joined(outs)}]\n"


def _tensor(name: str, kind: str, dims: list[int]) -> str:
    return f'  {{ name: "{name}" data_type: TYPE_{kind} dims: {dims} }}'


def _joined(parts: list[str]) -> str:
    return ",\n".join(parts) + "\n"


class OnnxSequence:
    """One text that ONNX Runtime reads, for a comparison."""

    def __init__(self, file: Path, shapes: Shapes) -> None:
        import onnxruntime

        self._session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self._shapes, self._length = shapes, 0
        self._past = [part.numpy() for part in shapes.empty_past(1)]

    def read(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Read some tokens, and return the logits after the last of them, (v,)."""
        import numpy as np

        start, self._length = self._length, self._length + len(ids)
        given: dict[str, Any] = {
            "input_ids": np.array([ids], np.int64),  # (1, l)
            "attention_mask": np.ones((1, self._length), np.int64),
            "position_ids": np.arange(start, self._length, dtype=np.int64)[None],
        }
        given |= dict(zip(self._shapes.past_names(), self._past, strict=True))
        logits, *self._past = self._session.run(None, given)
        last: npt.NDArray[np.float32] = logits[0, -1]
        return last


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch's exporter says of packages that it has no use for off the terminal."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        yield
    finally:
        exporter.setLevel(level)
