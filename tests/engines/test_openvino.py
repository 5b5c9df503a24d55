"""OpenVINO keeps the port's promises over the embedded GGUF, and thinks what transformers thinks."""

from pathlib import Path

import pytest

from markgraph.build import compose
from markgraph.engines.openvino import OpenVinoEngine
from markgraph.engines.port import Engine, Sampling
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import UsageError, WeightsError
from markgraph.models.source import resolve
from tests.engines.engine_suite import EngineSuite
from tests.engines.tiny import tiny_llama

pytest.importorskip("openvino_genai", reason="needs the extra [openvino]")


@pytest.fixture(scope="module")
def gguf() -> Path:
    model = compose("ask", ["model=smollm2"]).model.engine
    return resolve(model.source, model.sha256)


@pytest.fixture(scope="module")
def smollm2(gguf: Path) -> OpenVinoEngine:
    return OpenVinoEngine(f"file:{gguf}", n_batch=32, threads=1, accurate=True)


@pytest.mark.weights
class TestOpenVinoEngineOverGguf(EngineSuite):
    LACKS = frozenset({"adapter"})
    SEVERAL = 3

    @pytest.fixture
    def engine(self, smollm2: OpenVinoEngine) -> Engine:
        return smollm2


@pytest.mark.weights
def test_thinks_what_transformers_thinks_of_the_same_weights(gguf: Path, smollm2: OpenVinoEngine) -> None:
    reference = TransformersEngine(f"file:{gguf}", dtype="float32")
    text = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    prompt = reference.tokenizer(text).input_ids
    assert smollm2.tokenizer(text).input_ids == prompt
    ours = list(smollm2.stream(prompt, Sampling(6, logprobs=1)))
    theirs = list(reference.stream(prompt, Sampling(6, logprobs=1)))
    assert [token.id for token in ours] == [token.id for token in theirs]
    # OpenVINO GenAI rounds the minimum of each group of 4-bit numbers to a whole zero point.
    assert [token.logprob for token in ours] == pytest.approx([token.logprob for token in theirs], abs=0.5)


@pytest.mark.weights
def test_a_prompt_is_the_same_read_in_one_step_or_in_many(gguf: Path, smollm2: OpenVinoEngine) -> None:
    whole = OpenVinoEngine(f"file:{gguf}", n_batch=256, threads=1, accurate=True)
    prompt = whole.tokenizer("The supplier shall notify the customer. " * 12).input_ids
    assert len(prompt) > 64
    first = [next(iter(engine.stream(prompt, Sampling(1, logprobs=3)))) for engine in (whole, smollm2)]
    assert first[0].id == first[1].id
    assert first[0].logprob == pytest.approx(first[1].logprob, abs=1e-3)


@pytest.mark.weights
def test_ends_where_the_chat_template_says(smollm2: OpenVinoEngine) -> None:
    assert smollm2.context_tokens == 8192
    prompt = smollm2.tokenizer(
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ).input_ids
    tokens = [token.id for token in smollm2.stream(prompt, Sampling(200))]
    assert 0 < len(tokens) < 200
    assert smollm2.tokenizer.eos_token_id not in tokens


def test_safetensors_are_an_error_that_says_how_to_export_them(tmp_path: Path) -> None:
    engine = OpenVinoEngine(tiny_llama(tmp_path))
    with pytest.raises(WeightsError, match=r"no openvino_model\.xml in .*models export .*to=openvino"):
        _ = engine.context_tokens


def test_a_broken_model_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "openvino_model.xml").write_text("<net", "utf-8")
    with pytest.raises(WeightsError, match=r"openvino_model\.xml: .*Export it anew"):
        _ = OpenVinoEngine(f"file:{tmp_path}").context_tokens


def test_what_is_no_gguf_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(WeightsError, match=r"could not read .*broken\.gguf: .*Allowed: a \.gguf file"):
        _ = OpenVinoEngine(f"file:{tmp_path / 'broken.gguf'}").context_tokens
    assert not [file for file in (tmp_path / "cache" / "openvino").iterdir() if file.suffix != ".lock"]


def test_a_device_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "openvino_model.xml").write_text("<net", "utf-8")
    with pytest.raises(UsageError, match=r"device is 'NPU9'. Allowed here: CPU"):
        _ = OpenVinoEngine(f"file:{tmp_path}", device="NPU9").context_tokens
