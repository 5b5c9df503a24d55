"""What the processes beside the first do: they join in its trainings, and in nothing else."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langgraph.graph import END, START, StateGraph
from transformers import Trainer, TrainerCallback, set_seed

from markgraph.audit.types import Audit
from markgraph.errors import UsageError
from markgraph.graphs.wiring import Wiring
from markgraph.launching.processes import orders, send, size
from markgraph.nodes.authorize import Authorize
from markgraph.security.caller import Caller
from markgraph.security.effects import Effect, does
from markgraph.security.guard import Guard
from markgraph.security.policy import Need, Policy, Resource
from markgraph.training.base import Base
from markgraph.training.extra import quiet
from markgraph.training.pipeline import Stages, base_of, method_of, stage_folder
from markgraph.training.port import Job, Training
from markgraph.training.probe import Steps
from markgraph.training.render import tokens_of
from markgraph.training.runs import Runs
from markgraph.training.state import TrainReport, TrainRequest, TrainState, nothing_yet

PARTS = ("train", "held")
"""A stage's files of rows: what it learns from, and what is held back."""


@dataclass(frozen=True)
class Together:
    """A training that all processes run at the same time."""

    stage: str
    run: str
    """The run's folder."""
    models: str
    """Where the models of earlier stages are: the run's folder, or that of its probe."""
    steps: int | None = None
    """Try only so many, without held-back rows; None trains to the end."""
    longest: bool = False
    """Begin with the longest rows, where the method's trainer leaves their order to others."""
    resume: str | None = None
    """The checkpoint to go on from."""


@dataclass(frozen=True)
class Workshop:
    """What all processes make the same trainings of."""

    stages: Stages
    base: Base
    runs: Runs
    seed: int

    def together(self, told: Together, *callbacks: TrainerCallback) -> Training:
        """Return a training in the first process, while the others make the same.

        Raises:
            UsageError: the method trains on one device only.
        """
        send(asdict(told))
        return self.training(told, *callbacks)

    def training(self, told: Together, *callbacks: TrainerCallback) -> Training:
        """Return the training that an order asks for."""
        stage = next(each for each in self.stages if each.name == told.stage)
        run, models = Path(told.run), Path(told.models)
        rows, held = (
            self.runs.rows(stage_folder(run, stage.name) / "rows" / f"{part}.jsonl") for part in PARTS
        )
        # The models of earlier stages, in a probe, are those that their own first steps have made.
        base = base_of(stage, self.stages, self.base, models)
        if told.longest:
            rows = sorted(rows, key=lambda row: tokens_of(base, row), reverse=True)
        # Adapters begin at random: whatever ran before in this process must make no difference.
        set_seed(self.seed)
        # Without held-back rows in a probe: their loss is no part of a step.
        folder, kept = stage_folder(models, stage.name), () if told.steps else held
        job = Job(base, rows, kept, folder, self.seed, callbacks=callbacks)
        training = shareable(method_of(stage, models).training(job))
        if told.longest and isinstance(training, Trainer):
            training.args.train_sampling_strategy = "sequential"
        return training


def shareable(training: Training) -> Training:
    """Return a training that several processes can share.

    Raises:
        UsageError: there are several, and it knows nothing of others.
    """
    if size() > 1 and not isinstance(training, Trainer):
        raise UsageError(
            f"This method trains in one process; got {size()}. Start it as `markgraph train ...`, without "
            "torchrun or accelerate."
        )
    return training


@does(Effect.STORES)
@dataclass(frozen=True)
class Join:
    """Trains what the first process trains, on its own part of each batch; writes nothing."""

    workshop: Workshop

    def needs(self, state: TrainState) -> list[Need]:  # noqa: ARG002
        """Return the permission to train models."""
        return [Need("models:train", Resource("model"))]

    def __call__(self, state: TrainState) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing that the state holds."""
        with quiet():
            for order in orders():
                told = Together(**order)
                tried = [Steps(told.steps)] if told.steps else []
                self.workshop.training(told, *tried).train(resume_from_checkpoint=told.resume)
        return {}


def build(
    *,
    stages: Stages,
    settings: dict[str, Any],
    runs: Runs,
    seed: int = 0,
    authorize: Callable[..., Authorize] = Authorize,
    policy: Policy,
    audit: Audit | None = None,
) -> Any:
    """Return the graph of a process beside the first: authorize, and join in."""
    graph = StateGraph(TrainState, Caller, input_schema=TrainRequest, output_schema=TrainReport)
    wiring = Wiring(graph, "train", Guard(policy, audit))
    wiring.add("authorize", authorize(graph="train", policy=policy, begin=nothing_yet))
    wiring.add("join", Join(Workshop(stages, Base.of(settings["model"]), runs, seed)))
    graph.add_edge(START, "authorize")
    graph.add_edge("authorize", "join")
    graph.add_edge("join", END)
    return graph.compile(name="train")
