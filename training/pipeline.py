"""What is trained: one stage, or several, each with a method and the data that it learns from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from markgraph.errors import ConfigError
from markgraph.models.merge import merged
from markgraph.training.base import Base
from markgraph.training.data.source import Source
from markgraph.training.port import Method
from markgraph.training.scoring import is_adapter

TRAIN = "train"
"""The stage of a run that has only one."""


@dataclass(frozen=True)
class Stage:
    """A training within a run."""

    method: Method
    data: Source
    base: str | None = None
    """The earlier stage whose model it starts from; None: the run's own base."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Settings of the method that are the folder of an earlier stage's model."""
    name: str = TRAIN


Stages = tuple[Stage, ...]


def single(method: Method, data: Source) -> Stages:
    """Return the stages of a run that trains once."""
    return (Stage(method, data),)


def pipeline(**stages: Stage) -> Stages:
    """Return stages in the order in which they are given, each called by its key.

    Raises:
        ConfigError: one refers to a stage that does not come before it.
    """
    for at, (name, stage) in enumerate(stages.items()):
        before = list(stages)[:at]
        for other in (*filter(None, [stage.base]), *stage.models.values()):
            if other not in before:
                allowed = ", ".join(before) or "none, it is the first"
                raise ConfigError(f"pipeline.{name} refers to stage {other!r}. Allowed: {allowed}.")
    return tuple(replace(stage, name=name) for name, stage in stages.items())


def stage_folder(run: Path, stage: str) -> Path:
    """Return where a stage keeps its rows, checkpoints and model; the only one, in the run's own folder."""
    return run if stage == TRAIN else run / stage


def based_on(base: Base, model: Path) -> Base:
    """Return the base that goes on from what was trained over `base` and saved in `model`."""
    folder = merged(base.folder, model) if is_adapter(model) else model
    return replace(base, source=f"file:{folder}", sha256=None)


def base_of(stage: Stage, stages: Stages, base: Base, run: Path) -> Base:
    """Return the model that a stage of the run in folder `run` starts from."""
    if stage.base is None:
        return base
    before = next(each for each in stages if each.name == stage.base)
    return based_on(base_of(before, stages, base, run), stage_folder(run, before.name) / "model")


def method_of(stage: Stage, run: Path) -> Method:
    """Return a stage's method, told where the models of earlier stages are."""
    places: dict[str, Any] = {
        key: str(stage_folder(run, name) / "model") for key, name in stage.models.items()
    }
    return replace(stage.method, **places) if places else stage.method  # type: ignore[type-var]


def origin_of(stages: Stages, base: Base) -> Base | None:
    """Return the model that what a run trains goes back to; None: its first stage starts from nothing."""
    stage = stages[-1]
    while stage.base is not None:
        stage = next(each for each in stages if each.name == stage.base)
    return stage.method.origin(base)


def candidate_of(stages: Stages, base: Base, run: Path) -> tuple[Base, Path]:
    """Return what a run has trained, as a base and a model over it: a whole one behind several stages."""
    last = stages[-1]
    model = stage_folder(run, last.name) / "model"
    if last.base is None:
        return base, model
    return base, based_on(base_of(last, stages, base, run), model).folder
