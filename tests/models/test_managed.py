"""A config whose model is managed chats with an engine that the whole process shares."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate

from markgraph.build import compose
from markgraph.models.managed import ManagedEngine, managed
from tests.engines.tiny import tiny_llama
from tests.models.counting import CountingEngine, use


@pytest.fixture
def configured() -> Callable[..., ManagedEngine]:
    """Return a function that makes a managed engine as config does."""

    def make(source: str, **settings: Any) -> ManagedEngine:
        engine = {
            "_target_": f"{CountingEngine.__module__}.CountingEngine",
            "_partial_": True,
            "source": source,
        }
        config = {"_target_": "markgraph.models.managed.managed", "engine": engine, "memory": 40}
        made: ManagedEngine = instantiate(config | {"budget": 100} | settings, _convert_="all")
        return made

    return make


def test_configs_with_equal_settings_are_one_model_in_memory(
    configured: Callable[..., ManagedEngine],
) -> None:
    one, same, other = configured("file:a"), configured("file:a"), configured("file:b")
    adapted = configured("file:c", adapters={"law": "file:law"})
    engines = [use(each.manager, each.spec) for each in (one, same, other, adapted)]
    assert engines[0] is engines[1]
    assert engines[0] is not engines[2]
    assert engines[3].adapters == {"law": "file:law"}
    assert managed(partial(CountingEngine), 1, budget=200).manager is not one.manager


def test_two_chat_models_of_one_config_answer_with_one_engine_in_memory(tmp_path: Path) -> None:
    overrides = [
        "model=qwen_1_5b",
        f"model.engine.engine.source={tiny_llama(tmp_path / 'llama')}",
        "model.engine.engine.mode=exact",
        "model.engine.memory=50_000_000",
        "model.engine.budget=60_000_000",
        "model.max_tokens=4",
    ]
    one, other = (instantiate(compose("ask", overrides).model) for _ in range(2))
    assert one.invoke("Who pays?").content == other.invoke("Who pays?").content
    manager = one.engine.manager
    [held] = manager.held()
    assert (held.name.endswith("llama"), held.nbytes, held.leases) == (True, 50_000_000, 0)
    manager.unload()
    assert manager.held() == []
    assert one.invoke("Who pays?").usage_metadata["output_tokens"] <= 4, "it is loaded again when asked"
    manager.unload()
