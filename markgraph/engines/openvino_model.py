"""A language model in OpenVINO's form: token ids in, logits out.

The form is the one that OpenVINO GenAI and optimum-intel write: a model that keeps its own keys and values
(`ReadValue` and `Assign`), with the inputs input_ids, attention_mask, position_ids and beam_idx.

Does NOT include: sampling, text, several sequences in one batch.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markgraph.errors import EngineError, MissingExtraError, UsageError, WeightsError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MODEL = "openvino_model.xml"
_PROMPT_INPUTS = {"input_ids", "attention_mask", "position_ids", "beam_idx"}
_UNBOUNDED = 1 << 20
"""The window of a model whose config.json gives none: a recurrent one."""


class OpenVinoModel:
    """The weights and the compiled model, shared by all sequences.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        UsageError: there is no such device.
        WeightsError: OpenVINO can't load what is in the folder.
    """

    def __init__(self, folder: Path, device: str, threads: int, accurate: bool) -> None:
        core = library().Core()
        found = core.available_devices
        if device not in found:
            raise UsageError(
                f"model.engine.device is {device!r}. Allowed here: {', '.join(found)}. Choose one of "
                "them, or install the driver of the other."
            )
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        options |= {"INFERENCE_NUM_THREADS": threads} if device == "CPU" else {}
        options |= {"EXECUTION_MODE_HINT": "ACCURACY"} if accurate else {}
        try:
            model = core.read_model(folder / MODEL)
            self.inputs = {name for port in model.inputs for name in port.get_names()}
            _check_inputs(self.inputs, folder)
            _last_logits_only(model)
            self._compiled = core.compile_model(model, device, options)
        except RuntimeError as error:
            raise WeightsError(
                f"OpenVINO could not load {folder / MODEL}: {_first_line(error)}. Allowed: a text generation "
                "model as `markgraph models export` and optimum-intel write it. Export it anew."
            ) from error
        self.window = int(_settings(folder, "config.json").get("max_position_embeddings", _UNBOUNDED))
        ends = _settings(folder, "generation_config.json").get("eos_token_id")
        self.ends = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])

    def open(self) -> "OpenVinoSequence":
        """Return an empty sequence."""
        return OpenVinoSequence(self._compiled.create_infer_request(), self.inputs)


class OpenVinoSequence:
    """One text that is read, with a state of its own. Not safe for several threads at once."""

    def __init__(self, request: Any, inputs: set[str]) -> None:
        self._request, self._inputs, self._length = request, inputs, 0

    def read(self, ids: Sequence[int]) -> "npt.NDArray[np.float32]":
        """Read some tokens, and return the logits after the last of them, (v,)."""
        import numpy as np

        start, self._length = self._length, self._length + len(ids)
        given = {
            "input_ids": np.array([ids], np.int64),  # (1, l)
            "attention_mask": np.ones((1, self._length), np.int64),
            "position_ids": np.arange(start, self._length, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        try:
            self._request.infer({name: given[name] for name in self._inputs})
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO could not compute the next token: {_first_line(error)}. Ask again; if it fails "
                "again, choose another engine."
            ) from error
        logits = self._request.get_tensor("logits").data[0, -1]
        return np.array(logits, np.float32)  # a copy: the next step writes over it


def model_folder(weights: Path) -> Path:
    """Return the folder `weights`, or one with what OpenVINO GenAI makes of the GGUF file `weights`.

    A file is converted at the first call (about 4 s for 135 M parameters), and kept in the cache.

    Raises:
        WeightsError: it is neither.
    """
    from markgraph.models.weights import made_once

    if weights.suffix == ".gguf":
        return made_once(weights, "openvino", _convert)
    if not (weights / MODEL).is_file():
        raise WeightsError(
            f"There is no {MODEL} in {weights}. Allowed: a folder with one, or a .gguf file. To make one of "
            f"safetensors: markgraph models export model.engine.source=file:{weights} to=openvino folder=DIR."
        )
    return weights


def library() -> Any:
    """Return the module openvino.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("OpenVINO is not installed: pip install 'markgraph[openvino]'.") from error
    return openvino


def _convert(gguf: Path, folder: Path) -> None:
    """Let OpenVINO GenAI read `gguf`, and keep what it made: 4-bit weights stay 4-bit."""
    try:
        import openvino_genai
    except ImportError as error:
        raise MissingExtraError(
            "OpenVINO GenAI is not installed: pip install 'markgraph[openvino]'."
        ) from error
    link = folder / gguf.name  # it writes beside the file
    link.symlink_to(gguf.resolve())
    try:
        openvino_genai.LLMPipeline(str(link), "CPU", enable_save_ov_model=True)
    except (RuntimeError, IndexError) as error:
        raise WeightsError(
            f"OpenVINO GenAI could not read {gguf}: {_first_line(error)}. Allowed: a .gguf file of an "
            "architecture and a format that it knows (Llama and Qwen; Q4_0, Q4_1, Q8_0, F16 among them). "
            "Choose another file, or another engine."
        ) from error
    link.unlink()
    _note_settings(gguf, folder)


def _note_settings(gguf: Path, folder: Path) -> None:
    """Keep the window and the end tokens, which are in the GGUF file only."""
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    kind = fields["general.architecture"].contents()
    ends = [fields[name] for name in _ENDS if name in fields]
    config = {"max_position_embeddings": int(fields[f"{kind}.context_length"].contents())}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    generation = {"eos_token_id": sorted({int(end.contents()) for end in ends})}
    (folder / "generation_config.json").write_text(json.dumps(generation), "utf-8")


_ENDS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")


def _settings(folder: Path, name: str) -> dict[str, Any]:
    file = folder / name
    return dict(json.loads(file.read_text("utf-8"))) if file.exists() else {}


def _check_inputs(inputs: set[str], folder: Path) -> None:
    if "input_ids" not in inputs or not inputs <= _PROMPT_INPUTS:
        raise WeightsError(
            f"The model in {folder} takes {', '.join(sorted(inputs))}. Allowed: input_ids, with "
            "attention_mask, position_ids and beam_idx, and a state that it keeps itself. Export it anew: "
            "markgraph models export to=openvino folder=DIR."
        )


def _last_logits_only(model: Any) -> None:
    """Let `model` score the vocabulary after the last token only, not after each."""
    from openvino import opset15 as ops

    node = model.output("logits").get_node().input_value(0).get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() == "MatMul":
        hidden = node.input_value(0)  # (b, l, d)
        node.input(0).replace_source_output(ops.slice(hidden, [-1], [2**31 - 1], [1], [1]).output(0))
        model.validate_nodes_and_infer_types()


def _first_line(error: Exception) -> str:
    """Return what OpenVINO says went wrong, without where in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check "))]
    return (said or lines or ["no reason given"])[-1].rstrip(".")
