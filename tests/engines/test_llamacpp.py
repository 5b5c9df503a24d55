"""llama.cpp keeps the port's promises over the embedded GGUF, and takes no process along when it dies."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from markgraph.build import compose
from markgraph.engines.llamacpp import LlamaCppEngine
from markgraph.engines.port import Engine, Sampling
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import EngineError, WeightsError
from markgraph.models.source import resolve
from tests.engines.engine_suite import EngineSuite

llama_cpp = pytest.importorskip("llama_cpp", reason="needs the extra [llamacpp]")


@pytest.fixture(scope="module", autouse=True)
def _quiet_end() -> Iterator[None]:
    """Close what llama_cpp opens at its import and leaves open."""
    yield
    llama_cpp._utils.outnull_file.close()
    llama_cpp._utils.errnull_file.close()


@pytest.fixture(scope="module")
def gguf() -> Path:
    model = compose("ask", ["model=smollm2"]).model.engine
    return resolve(model.source, model.sha256)


@pytest.fixture(scope="module")
def smollm2(gguf: Path) -> LlamaCppEngine:
    return LlamaCppEngine(f"file:{gguf}", n_ctx=256, n_batch=32, threads=1)


@pytest.mark.weights
class TestLlamaCppEngine(EngineSuite):
    LACKS = frozenset({"adapter"})
    SEVERAL = 3

    @pytest.fixture
    def engine(self, smollm2: LlamaCppEngine) -> Engine:
        return smollm2


@pytest.mark.weights
def test_thinks_what_transformers_thinks_of_the_same_weights(gguf: Path, smollm2: LlamaCppEngine) -> None:
    reference = TransformersEngine(f"file:{gguf}", dtype="float32")
    text = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    prompt = reference.tokenizer(text).input_ids
    assert smollm2.tokenizer(text).input_ids == prompt
    ours = list(smollm2.stream(prompt, Sampling(6, logprobs=1)))
    theirs = list(reference.stream(prompt, Sampling(6, logprobs=1)))
    assert [token.id for token in ours] == [token.id for token in theirs]
    # llama.cpp rounds activations to 8 bits.
    assert [token.logprob for token in ours] == pytest.approx([token.logprob for token in theirs], abs=0.3)


@pytest.mark.weights
def test_a_prompt_is_the_same_read_in_one_step_or_in_many(gguf: Path, smollm2: LlamaCppEngine) -> None:
    whole = LlamaCppEngine(f"file:{gguf}", n_ctx=256, n_batch=256, threads=1)
    prompt = whole.tokenizer("The supplier shall notify the customer. " * 12).input_ids
    assert len(prompt) > 64
    first = [next(iter(engine.stream(prompt, Sampling(1, logprobs=3)))) for engine in (whole, smollm2)]
    assert first[0].id == first[1].id
    assert first[0].logprob == pytest.approx(first[1].logprob, abs=0.1)


@pytest.mark.weights
def test_ends_where_the_chat_template_says(smollm2: LlamaCppEngine) -> None:
    prompt = smollm2.tokenizer("<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\n").input_ids
    tokens = [token.id for token in smollm2.stream(prompt, Sampling(200))]
    assert 0 < len(tokens) < 200
    assert smollm2.tokenizer.eos_token_id not in tokens


@pytest.mark.weights
def test_is_tried_once_for_each_file(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "copy.gguf").symlink_to(gguf)
    for _ in range(2):
        assert LlamaCppEngine(f"file:{tmp_path / 'copy.gguf'}").context_tokens == 8192
        (note,) = (tmp_path / "cache" / "probes").iterdir()
        assert json.loads(note.read_text()) == {"died": None, "model": "copy.gguf"}


@pytest.mark.weights
def test_a_build_that_dies_is_an_error_and_not_the_end(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # The child imports this at its start, and dies as a bad build does.
    (tmp_path / "sitecustomize.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)\n")
    for _ in range(2):
        with pytest.raises(EngineError, match=r"dies of SIGILL .*SmolLM2.*model=smollm2"):
            _ = LlamaCppEngine(f"file:{gguf}").context_tokens
        (tmp_path / "sitecustomize.py").unlink(missing_ok=True)


def test_what_is_no_gguf_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(WeightsError, match=r"broken\.gguf.*Allowed: a \.gguf file"):
        _ = LlamaCppEngine(f"file:{tmp_path / 'broken.gguf'}").context_tokens
    assert not (tmp_path / "cache" / "probes").exists()
