"""Any checkpoint is answered with, by the engine that knows its architecture."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from markgraph.engines.fallback import FallbackEngine
from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.port import Sampling, cache_scope
from markgraph.engines.transformers import TransformersEngine
from markgraph.errors import UsageError, WeightsError
from tests.engines.engine_suite import EngineSuite, gathered
from tests.engines.tiny import save_tiny, tiny_llama


def tiny_gpt2(folder: Path) -> str:
    settings = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.5}
    return save_tiny(folder, GPT2LMHeadModel, GPT2Config, settings)


def fallback(source: str) -> FallbackEngine:
    return FallbackEngine(
        source,
        native=partial(NativeEngine, mode="exact", threads=1),
        otherwise=partial(TransformersEngine, dtype="float32"),
    )


@pytest.fixture(scope="module", params=[tiny_llama, tiny_gpt2])
def chosen(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> FallbackEngine:
    return fallback(request.param(tmp_path_factory.mktemp("model")))


class TestFallbackEngine(EngineSuite):
    @pytest.fixture
    def engine(self, chosen: FallbackEngine) -> FallbackEngine:
        return chosen


def test_says_what_transformers_says(chosen: FallbackEngine) -> None:
    prompt = chosen.tokenizer("Who pays").input_ids
    expected = list(TransformersEngine(chosen.source, dtype="float32").stream(prompt, Sampling(12)))
    assert list(chosen.stream(prompt, Sampling(12))) == expected
    assert asyncio.run(gathered(chosen.astream(prompt, Sampling(12)))) == expected
    chosen.close()
    assert list(chosen.stream(prompt, Sampling(12))) == expected


def test_the_native_engine_answers_where_it_knows_the_model(tmp_path: Path) -> None:
    natives: list[NativeEngine] = []

    def native(**settings: str) -> NativeEngine:
        natives.append(NativeEngine(**settings, threads=1))
        return natives[-1]

    engine = FallbackEngine(tiny_llama(tmp_path), native=native)
    prompt = [5, 6, 7] * 50
    for scope in ("rita", "rita", "paul"):
        with cache_scope(scope):
            stream = engine.stream(prompt, Sampling(2))
        assert len(list(stream)) == 2
    assert natives[0].prefixes
    assert natives[0].prefixes.hits == 1, "a scope is that of the call"
    engine.close()


def test_what_is_wrong_otherwise_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not there"):
        _ = fallback(f"file:{tmp_path / 'nowhere'}").context_tokens
    engine = FallbackEngine(tiny_llama(tmp_path), native=partial(NativeEngine, mode="quick"))
    with pytest.raises(UsageError, match="'quick'"):
        _ = engine.context_tokens
