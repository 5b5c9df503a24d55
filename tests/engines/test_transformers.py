"""The transformers engine computes what transformers computes, and no more than it is asked for."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from markgraph.engines.port import Engine, Sampling
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import UsageError, WeightsError
from tests.engines.engine_suite import EngineSuite
from tests.engines.tiny import PROMPTS, tiny_llama, tiny_mamba, tiny_mamba2

KINDS: dict[str, Callable[[Path], str]] = {"llama": tiny_llama, "mamba": tiny_mamba, "mamba2": tiny_mamba2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, make in KINDS.items():
        make(folders[kind])
    return folders


@pytest.fixture(scope="module")
def engines(folders: dict[str, Path]) -> dict[str, TransformersEngine]:
    return {kind: TransformersEngine(f"file:{folder}", dtype="float32") for kind, folder in folders.items()}


@pytest.fixture
def engine(engines: dict[str, TransformersEngine]) -> TransformersEngine:
    return engines["llama"]


class TestTransformersEngine(EngineSuite):
    LACKS = frozenset({"adapter"})

    @pytest.fixture(params=["llama", "mamba"])
    def engine(self, request: pytest.FixtureRequest, engines: dict[str, TransformersEngine]) -> Engine:
        return engines[request.param]


def said(engine: TransformersEngine, text: str, sampling: Sampling) -> list[int]:
    return [token.id for token in engine.stream(engine.tokenizer(text).input_ids, sampling)]


@contextmanager
def counted_steps() -> Iterator[list[int]]:
    """Count the forward passes of any model in this process."""
    steps: list[int] = []

    def note(module: Any, inputs: Any, output: Any) -> None:
        if isinstance(module, PreTrainedModel) and "logits" in output:
            steps.append(1)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    yield steps
    hook.remove()


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_are_those_of_transformers(
    kind: str, engines: dict[str, TransformersEngine], folders: dict[str, Path]
) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folders[kind], dtype=torch.float32).eval()
    answers = []
    for prompt in PROMPTS:
        tokens = engines[kind].tokenizer(prompt).input_ids
        expected = reference.generate(
            torch.tensor([tokens]),
            attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
            do_sample=False,
            max_new_tokens=16,
            pad_token_id=0,
        )[0, len(tokens) :].tolist()
        answers.append(said(engines[kind], prompt, Sampling(16)))
        assert answers[-1] == expected
    assert len(set(map(tuple, answers))) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_logprobs_are_those_of_one_pass_over_the_whole_text(
    kind: str, engines: dict[str, TransformersEngine], folders: dict[str, Path]
) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folders[kind], dtype=torch.float32).eval()
    prompt = engines[kind].tokenizer("Who pays").input_ids
    tokens = list(engines[kind].stream(prompt, Sampling(16, temperature=1.0, seed=5, logprobs=0)))
    text = torch.tensor([[*prompt, *(token.id for token in tokens)]])
    with torch.inference_mode():
        whole = reference(text).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]  # (l, v)
    expected = whole.gather(1, text[0, len(prompt) :, None])[:, 0]
    assert [token.logprob for token in tokens] == pytest.approx(expected.tolist(), abs=1e-4)


def test_stops_at_every_end_token_of_the_generation_config(
    engine: TransformersEngine, tmp_path: Path
) -> None:
    source = tiny_llama(tmp_path)
    tokens = said(engine, "Who pays", Sampling(12))
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    settings["eos_token_id"] = [settings["eos_token_id"], tokens[3]]
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    other = TransformersEngine(source, dtype="float32")
    assert said(other, "Who pays", Sampling(12)) == tokens[: tokens.index(tokens[3])]


def test_computes_nothing_ahead(engine: TransformersEngine) -> None:
    with counted_steps() as steps:
        stream = engine.stream(engine.tokenizer("hello").input_ids, Sampling(max_tokens=50))
        assert steps == []
        next(stream), next(stream), next(stream)
        assert len(steps) == 3
        stream.close()
        assert len(steps) == 3


def test_reads_its_weights_at_the_first_call(tmp_path: Path) -> None:
    engine = TransformersEngine(f"file:{tmp_path / 'nowhere'}")
    with pytest.raises(WeightsError, match="is not there"):
        _ = engine.tokenizer


def test_a_wrong_dtype_names_the_allowed_ones(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"'float99'.*auto, float32, bfloat16"):
        _ = TransformersEngine(f"file:{folders['llama']}", dtype="float99").context_tokens


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that is asked for")
@pytest.mark.parametrize("quantization", ["nf4", "fp8"])
def test_a_format_for_gpus_needs_one(folders: dict[str, Path], quantization: str) -> None:
    engine = TransformersEngine(f"file:{folders['llama']}", quantization=quantization)
    with pytest.raises(UsageError, match=f"{quantization}.*GPU"):
        _ = engine.context_tokens


def test_runs_where_the_device_map_says(folders: dict[str, Path], engine: TransformersEngine) -> None:
    placed = TransformersEngine(f"file:{folders['llama']}", dtype="float32", device_map="cpu")
    assert said(placed, "Who pays", Sampling(8)) == said(engine, "Who pays", Sampling(8))


def test_knows_its_window(engines: dict[str, TransformersEngine]) -> None:
    assert engines["llama"].context_tokens == 512
    assert engines["mamba"].context_tokens > 100_000
