"""What is written for other engines thinks what the original thinks, and is complete or not there."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from markgraph.engines.openvino import OpenVinoEngine
from markgraph.engines.port import Engine, Sampling
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import StorageError, UsageError
from markgraph.models.export import ExportReport, export_model
from tests.engines.engine_suite import EngineSuite
from tests.engines.tiny import tiny_llama, tiny_mamba

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra [export]")
pytest.importorskip("onnxscript", reason="needs the extra [export]")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARKGRAPH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def triton(source: str, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export_model(source, None, "triton", tmp_path_factory.mktemp("repository"), "tiny")


@pytest.fixture(scope="module")
def openvino(source: str, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    pytest.importorskip("openvino", reason="needs the extra [openvino]")
    return export_model(source, None, "openvino", tmp_path_factory.mktemp("openvino") / "tiny", "tiny")


def test_a_triton_model_is_a_folder_of_its_repository(triton: ExportReport) -> None:
    assert triton.folder.name == "tiny"
    assert {file.name for file in triton.folder.iterdir()} == {"config.pbtxt", "1", "tokenizer"}
    assert {file.name for file in (triton.folder / "1").iterdir()} == {"model.onnx", "model.onnx.data"}
    assert {file.name for file in triton.folder.parent.iterdir()} == {"tiny"}
    assert len(AutoTokenizer.from_pretrained(triton.folder / "tokenizer")) == 315
    assert triton.largest_difference < 1e-4
    assert triton.top1_agreement == 1
    assert triton.tokens_compared == 7


def test_the_triton_config_names_what_the_onnx_model_has(triton: ExportReport) -> None:
    text = (triton.folder / "config.pbtxt").read_text("utf-8")
    assert text.startswith('name: "tiny"\nbackend: "onnxruntime"\nmax_batch_size: 0\n')
    said = re.findall(r'name: "(\S+)" data_type: TYPE_(\w+) dims: \[(.*?)\]', text)
    session = onnxruntime.InferenceSession(triton.folder / "1" / "model.onnx")
    kinds = {"tensor(int64)": "INT64", "tensor(float)": "FP32"}
    has = [
        (
            port.name,
            kinds[port.type],
            ", ".join(str(size if isinstance(size, int) else -1) for size in port.shape),
        )
        for port in (*session.get_inputs(), *session.get_outputs())
    ]
    assert said == has


def test_rows_of_different_lengths_are_read_together(source: str, triton: ExportReport) -> None:
    reference = AutoModelForCausalLM.from_pretrained(source.removeprefix("file:"), dtype=torch.float32).eval()
    session = onnxruntime.InferenceSession(triton.folder / "1" / "model.onnx")
    rows = [[5, 6, 7, 8, 9, 10], [11, 12, 13]]
    ids, mask, at = (np.zeros((2, 6), np.int64) for _ in range(3))
    for n, row in enumerate(rows):
        ids[n, -len(row) :], mask[n, -len(row) :], at[n, -len(row) :] = row, 1, range(len(row))
    past = {
        port.name: np.zeros((2, 2, 0, 8), np.float32)
        for port in session.get_inputs()
        if port.name.startswith("past")
    }
    got = session.run(["logits"], {"input_ids": ids, "attention_mask": mask, "position_ids": at, **past})[0]
    for n, row in enumerate(rows):
        with torch.inference_mode():
            expected = reference(torch.tensor([row])).logits[0, -1].numpy()
        np.testing.assert_allclose(got[n, -1], expected, atol=1e-4)


@pytest.mark.slow
def test_onnx_is_written_with_tokenizer_and_config(source: str, tmp_path: Path) -> None:
    report = export_model(source, None, "onnx", tmp_path / "new" / "onnx", "tiny")
    files = {file.name for file in (tmp_path / "new" / "onnx").iterdir()}
    assert {"model.onnx", "tokenizer.json", "config.json", "generation_config.json"} <= files
    assert report.bytes == sum(file.stat().st_size for file in report.folder.iterdir())


class TestOpenVinoEngineOverAnExport(EngineSuite):
    LACKS = frozenset({"adapter"})

    @pytest.fixture
    def engine(self, openvino: ExportReport) -> Engine:
        return OpenVinoEngine(f"file:{openvino.folder}", threads=1, accurate=True)


def test_openvino_says_what_transformers_says(source: str, openvino: ExportReport) -> None:
    assert openvino.largest_difference < 0.02
    ours = OpenVinoEngine(f"file:{openvino.folder}", threads=1, accurate=True)
    theirs = TransformersEngine(source, dtype="float32")
    prompt = theirs.tokenizer("Who pays").input_ids
    assert ours.context_tokens == theirs.context_tokens
    said = [list(engine.stream(prompt, Sampling(12, logprobs=0))) for engine in (ours, theirs)]
    assert [token.id for token in said[0]] == [token.id for token in said[1]]
    # The weights were rounded to float16.
    assert [t.logprob for t in said[0]] == pytest.approx([t.logprob for t in said[1]], abs=0.05)


@pytest.mark.parametrize(
    ("to", "name", "message"),
    [
        ("tflite", "tiny", r"to is 'tflite'. Allowed: onnx, openvino, triton"),
        ("onnx", "../tiny", r"name is '\.\./tiny'"),
    ],
)
def test_what_there_is_not_is_refused(to: str, name: str, message: str, source: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        export_model(source, None, to, tmp_path, name)


def test_what_is_there_stays(source: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        export_model(source, None, "onnx", tmp_path, "tiny")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_recurrent_model_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    source = tiny_mamba(tmp_path / "mamba")
    with pytest.raises(UsageError, match=r"kind mamba can't be exported.*Llama"):
        export_model(source, None, "onnx", tmp_path / "onnx", "tiny")
    assert [file.name for file in tmp_path.iterdir()] == ["mamba"]


def test_what_a_killed_export_left_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / ".onnx.exporting" / "onnx"
    left.mkdir(parents=True)
    (left / "model.onnx.data").write_bytes(bytes(8))
    with pytest.raises(UsageError, match="can't be exported"):
        export_model(tiny_mamba(tmp_path / "mamba"), None, "onnx", tmp_path / "onnx", "tiny")
    assert [file.name for file in tmp_path.iterdir()] == ["mamba"]


def test_a_place_that_can_not_be_written_is_an_error(source: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"Could not write .*permissions"):
        export_model(source, None, "onnx", tmp_path / "file" / "onnx", "tiny")
