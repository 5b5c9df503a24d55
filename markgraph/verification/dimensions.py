"""What configurations can differ in: the options of each config group, and stages that may be left out."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import yaml
from omegaconf import DictConfig

from markgraph.build import CONFIG_MODULE, stages_of
from markgraph.config_errors import locate
from markgraph.security.effects import declared_by
from markgraph.verification.rules import GUARDING

Overrides = tuple[str, ...]


class Dimension(NamedTuple):
    """A choice that a configuration makes."""

    name: str
    """The group, or `graph.STAGE`."""
    options: tuple[Overrides, ...]
    """Each as overrides; none at all stands for what the config has anyway."""


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
                yield Dimension(group, tuple(options_of(group, optional=usual is None)))


def options_of(group: str, *, optional: bool) -> Iterator[Overrides]:
    """Yield the options of a group: its files, and none of them where that is allowed."""
    if optional:
        yield ()
    for file in sorted(files(CONFIG_MODULE).joinpath(group).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            yield (f"{group}={file.name.removesuffix('.yaml')}",)


def stages_in(config: DictConfig) -> Iterator[Dimension]:
    """Yield the stages of a graph that may be left out; one that guards is not: that would be no mere choice."""
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
