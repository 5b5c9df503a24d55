"""Models load from local files, and a GGUF is converted once, however many want it and whoever is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from markgraph.build import compose
from markgraph.engines.port import Sampling
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import WeightsError
from markgraph.models.chat import LocalChatModel
from markgraph.models.source import resolve
from markgraph.models.weights import best_dtype, load_causal, load_encoder, load_tokenizer
from tests.engines.tiny import tiny_llama

LOAD = "import sys; from pathlib import Path; from markgraph.models.weights import load_causal\n"
CHILD = LOAD + "print(sum(p.numel() for p in load_causal(Path(sys.argv[1]), 'float32')[1].parameters()))"
PARAMETERS = "134515008"
"""As the model card of SmolLM2-135M says, in full."""


@pytest.fixture(scope="session")
def gguf() -> Path:
    """Return the embedded model of conf/model/smollm2.yaml."""
    engine = compose("embed", ["model=smollm2"]).model.engine
    return resolve(engine.source, engine.sha256)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of conversions, in an empty cache."""
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


def start(gguf: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(gguf)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def folders(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


@pytest.mark.weights
@pytest.mark.slow
def test_two_processes_convert_a_gguf_once(gguf: Path, cache: Path) -> None:
    loads = [start(gguf), start(gguf)]
    outputs = [load.communicate(timeout=300) for load in loads]
    assert [output.strip() for output, _ in outputs] == [PARAMETERS] * 2, outputs
    [folder] = folders(cache)
    stamps = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    started = time.monotonic()
    _, model = load_causal(gguf, "float32")
    assert time.monotonic() - started < 10
    assert model.dtype == torch.float32
    assert {file: file.stat().st_mtime_ns for file in folders(cache)[0].iterdir()} == stamps


@pytest.mark.weights
@pytest.mark.slow
def test_a_killed_conversion_leaves_nothing_that_is_taken_for_good(gguf: Path, cache: Path) -> None:
    killed = start(gguf)
    while not (list(cache.glob("*/*.safetensors")) if cache.exists() else []):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    [draft] = folders(cache)
    assert draft.name.endswith(".converting")
    again = start(gguf)
    output, errors = again.communicate(timeout=300)
    assert output.strip() == PARAMETERS, errors
    [folder] = folders(cache)
    assert not folder.name.endswith(".converting")


@pytest.mark.weights
@pytest.mark.slow
def test_the_converted_model_computes_what_transformers_reads_from_the_gguf(gguf: Path) -> None:
    engine = TransformersEngine(f"file:{gguf}", dtype="float32")
    options: dict[str, Any] = {"gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
    reference = AutoModelForCausalLM.from_pretrained(
        gguf.parent, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32, **options
    )
    chat = [{"role": "user", "content": "What is the capital of France? 👍"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    assert engine.tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] == prompt
    mask = torch.ones(1, len(prompt), dtype=torch.long)
    expected = reference.generate(
        torch.tensor([prompt]), attention_mask=mask, do_sample=False, max_new_tokens=16
    )[0, len(prompt) :].tolist()
    said = [token.id for token in engine.stream(prompt, Sampling(max_tokens=16))]
    assert said == [token for token in expected if token != tokenizer.eos_token_id]


@pytest.mark.weights
@pytest.mark.slow
def test_a_tokenizer_is_read_from_a_gguf_without_converting_its_weights(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_tokenizer(gguf)
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path))
    for _ in range(2):
        found = load_tokenizer(gguf)
        assert found("Zwei, für dich — 😀").input_ids == expected("Zwei, für dich — 😀").input_ids
        assert found.chat_template == expected.chat_template
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizers"]
    assert sum(file.stat().st_size for file in tmp_path.rglob("*")) < 20e6


@pytest.mark.weights
def test_the_embedded_model_answers(gguf: Path) -> None:
    model = LocalChatModel(engine=TransformersEngine(f"file:{gguf}"), max_tokens=24)
    reply = model.invoke("What is the capital of France?<file_sep><|im_end|>")
    assert "Paris" in reply.text


def test_a_gguf_that_is_none_is_an_error_that_names_it(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(WeightsError, match=r"Could not load the model in .*broken\.gguf"):
        load_causal(path, "float32")
    assert folders(cache) == []


@pytest.mark.parametrize("load", [load_encoder, lambda folder: load_causal(folder, "float32")])
def test_a_folder_without_a_model_is_an_error_that_names_it(tmp_path: Path, load: Any) -> None:
    with pytest.raises(WeightsError, match=r"Could not load the model in .*Allowed: a folder with"):
        load(tmp_path)


def test_damaged_safetensors_are_an_error_that_names_the_folder(tmp_path: Path) -> None:
    tiny_llama(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="Could not load the model in"):
        load_causal(tmp_path, "float32")


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    tiny_llama(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match=r"holds pytorch_model\.bin, which runs code when it loads"):
        load_causal(tmp_path, "float32")


def test_code_in_a_folder_does_not_run(tmp_path: Path) -> None:
    tiny_llama(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(WeightsError):
        load_causal(tmp_path, "float32")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"_attn_implementation": "evil/kernel"},
        {"attn_implementation": {"": "paged|evil/kernel"}},
        {"text_config": {"_experts_implementation": "evil/kernel"}},
    ],
)
def test_a_config_that_asks_for_kernels_from_a_hub_is_refused(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    tiny_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(WeightsError, match=r"asks for code from a hub, .*evil/kernel"):
        load_causal(tmp_path, "float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "auto"])
def test_computes_in_the_dtype_that_was_asked_for(tmp_path: Path, dtype: str) -> None:
    tiny_llama(tmp_path)
    _, model = load_causal(tmp_path, dtype)
    assert str(model.dtype) == f"torch.{best_dtype() if dtype == 'auto' else dtype}"
    assert not model.training


def test_a_cache_that_cannot_be_written_is_an_error_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="set MARKGRAPH_CACHE to another folder"):
        load_causal(tmp_path / "some.gguf", "float32")
