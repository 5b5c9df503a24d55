"""The channels of the training graph: plain data, so that a run can go on after a crash."""

import operator
from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict

from markgraph.state import Owned, merge_timings


class TrainRequest(TypedDict):
    """What a client may send; what is trained on what is part of the config."""

    run: str
    """The run's name, and its folder's: 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'."""
    resume: NotRequired[bool]
    """Go on with one's run of that name, which another thread or another process has begun."""


class Prepared(TypedDict):
    """The rows of a stage, which lie in its folder."""

    rows: int
    """Rows to learn from."""
    held: int
    """Rows that are held back."""
    sha256: dict[str, str]
    """Digest of each file of rows, by its name: `train.jsonl`, `held.jsonl`."""
    left_out: dict[str, int]
    """How many rows were left out, by reason."""


class StagePlan(TypedDict):
    """What a stage will take, estimated from a few steps of it."""

    stage: str
    method: str
    rows: int
    held: int
    tokens: int
    """Tokens of its rows, read once."""
    steps: int
    """Optimiser steps."""
    seconds_per_step: float
    seconds: float
    """Time to train; loading, scoring and held-back losses come on top."""
    peak_bytes: int
    """Most memory that this process held during those steps."""
    peak_gpu_bytes: int
    """Most memory on the accelerator; 0 without one."""


class Plan(TypedDict):
    """What a training would do, before it is done."""

    config_hash: str
    """Digest of the effective config; config.yaml in the run's folder spells it out."""
    base: str
    """The model that it starts from."""
    stages: list[StagePlan]
    seconds: float
    peak_bytes: int
    peak_gpu_bytes: int


class Trained(TypedDict):
    """What became of a stage."""

    steps: int
    loss: float | None
    """The last that was logged; None where it is no finite number, too."""
    diverged: NotRequired[bool]
    """Whether that is so."""
    seconds: float


class TrainReport(TypedDict):
    """What a client gets."""

    run: str
    prepared: Annotated[dict[str, Prepared], operator.or_]
    """By stage."""
    plan: Plan
    approved: bool
    """Whether somebody said that the plan be carried out."""
    trained: Annotated[dict[str, Trained], operator.or_]
    """By stage."""
    metric: str
    """What the candidate has to be better in."""
    scores: dict[str, dict[str, float]]
    """Mean of each metric of `champion` and `candidate`."""
    verdict: dict[str, Any]
    """What the gate says: `accepted`, `reasons`, and each metric's difference with its interval."""
    registered: dict[str, Any]
    """`name`, `version` and `alias` of what was registered; empty where nothing was."""
    timings: Annotated[dict[str, float], merge_timings]
    """Milliseconds by node."""


class TrainState(TrainRequest, TrainReport, Owned):
    """Everything a run of `train` knows."""


def nothing_yet() -> dict[str, Any]:
    """Return the channels of a run that has just begun."""
    return {"prepared": {}, "trained": {}, "approved": False, "scores": {}, "verdict": {}, "registered": {}}
