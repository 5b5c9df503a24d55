"""What configurations can differ in: the options of each config group, and stages that may be left out."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig

from markgraph.build import stages_of
from markgraph.config_errors import locate
from markgraph.environment import CONFIG_MODULE
from markgraph.security.effects import declared_by
from markgraph.verification.rules import GUARDING

Overrides = tuple[str, ...]


class Dimension(NamedTuple):
    """A choice that a configuration makes."""

    name: str
    """The group, or `graph.STAGE`."""
    options: tuple[Overrides, ...]
    """Each as overrides. The usual one comes first, and is none at all: the config has it anyway."""


def groups_of(job: str) -> Iterator[Dimension]:
    """Yield the groups that a primary config, or one that it builds on, chooses from."""
    text = files(CONFIG_MODULE).joinpath(f"{job}.yaml").read_text("utf-8")
    for default in yaml.safe_load(text)["defaults"]:
        if isinstance(default, str):
            if default not in ("base", "_self_"):
                yield from groups_of(default)
            continue
        for group, usual in default.items():
            if not group.startswith("override "):
                yield Dimension(group, ((), *others(group, usual)))


def others(group: str, usual: str | None) -> Iterator[Overrides]:
    """Yield the options of a group but the usual one."""
    for name in sorted(file.name for file in files(CONFIG_MODULE).joinpath(group).iterdir()):
        option = name.removesuffix(".yaml")
        if option not in (name, usual):
            yield (f"{group}={option}",)


def stages_in(config: DictConfig) -> Iterator[Dimension]:
    """Yield the stages of a graph that may be left out, but none that guards: that is no mere choice."""
    builder: Any = locate(config.graph["_target_"])
    for stage in stages_of(builder):
        settings = config.graph.get(stage)
        if settings is None or GUARDING & (declared_by(locate(settings["_target_"])) or frozenset()):
            continue
        yield Dimension(f"graph.{stage}", ((), (f"graph.{stage}=null",)))


def not_fixed(dimensions: Sequence[Dimension], overrides: Sequence[str]) -> list[Dimension]:
    """Return the dimensions that `overrides` leave open."""
    keys = [each.partition("=")[0].lstrip("+~") for each in overrides]
    return [each for each in dimensions if not any(f"{key}.".startswith(f"{each.name}.") for key in keys)]
