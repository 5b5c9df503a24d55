"""A builder called without config does what the shipped config does."""

from dataclasses import MISSING, Field, fields
from functools import partial
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig

from markgraph.build import compose

EXCEPTIONS = {("agent", "validate", "to_the_point")}


def stages(graph: str) -> dict[str, DictConfig]:
    config = compose("ingest" if graph == "ingest" else "embed", [f"graph={graph}"]).graph
    return {
        str(name): stage
        for name, stage in config.items_ex(resolve=False)
        if isinstance(stage, DictConfig) and stage.get("_partial_")
    }


def default_of(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


@pytest.mark.parametrize("graph", ["qa", "agent", "ingest", "evaluate", "train"])
def test_the_configs_values_are_the_codes_defaults(graph: str) -> None:
    for name, stage in stages(graph).items():
        made: partial[Any] = instantiate(stage)
        defaults = {field.name: default_of(field) for field in fields(made.func)}
        for key, value in made.keywords.items():
            if (graph, name, key) not in EXCEPTIONS:
                assert value == defaults[key], f"{graph}.{name}.{key}"


@pytest.mark.parametrize("graph", ["qa", "agent", "ingest", "evaluate", "train"])
def test_every_setting_of_a_node_can_be_overridden_by_name(graph: str) -> None:
    for name, stage in stages(graph).items():
        plain = (int, float, str, bool)
        made: partial[Any] = instantiate(stage)
        settings = {field.name for field in fields(made.func) if isinstance(field.default, plain)}
        assert settings <= set(stage), f"{graph}.{name}"
