"""The training graph: from rows to a registered model, with a plan, a person's word and a gate on the way.

authorize; begin a run; prepare rows; plan, from a few steps; confirm, where it waits for a person; train,
once, or once for each stage of a pipeline; evaluate; compare with what is in service; register what is
better; report. With a checkpointer a run that was killed, or waits, can go on.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

from langchain_core.embeddings import Embeddings
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from markgraph.audit.types import Audit
from markgraph.graphs.wiring import Wiring
from markgraph.models.registry import Registry
from markgraph.nodes.authorize import Authorize
from markgraph.security.caller import Caller
from markgraph.security.guard import Guard
from markgraph.security.policy import Policy
from markgraph.training.base import Base
from markgraph.training.begin import Begin
from markgraph.training.compare import Compare
from markgraph.training.conclude import Conclude
from markgraph.training.confirm import Confirm
from markgraph.training.evaluate import Evaluate
from markgraph.training.join import Workshop
from markgraph.training.pipeline import TRAIN, Stages, origin_of
from markgraph.training.plan import Plan
from markgraph.training.prepare import Prepare
from markgraph.training.register import Register
from markgraph.training.runs import Runs
from markgraph.training.state import TrainReport, TrainRequest, TrainState, nothing_yet
from markgraph.training.tracking import Tracker
from markgraph.training.train import Train

TrainGraph = CompiledStateGraph[TrainState, Caller, TrainRequest, TrainReport]


def build(
    *,
    stages: Stages,
    settings: Mapping[str, Any],
    runs: Runs,
    registry: Registry,
    embedder: Embeddings,
    tracker: Tracker | None = None,
    name: str | None = None,
    seed: int = 0,
    authorize: Callable[..., Authorize] = Authorize,
    prepare: Callable[..., Prepare] = Prepare,
    plan: Callable[..., Plan] = Plan,
    evaluate: Callable[..., Evaluate] = Evaluate,
    compare: Callable[..., Compare] = Compare,
    policy: Policy,
    audit: Audit | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
) -> TrainGraph:
    """Return the compiled graph; `settings` is the config of all that the training depends on."""
    base = Base.of(settings["model"])
    name, workshop = name or name_of(base, stages), Workshop(stages, base, runs, seed)
    graph = StateGraph(TrainState, Caller, input_schema=TrainRequest, output_schema=TrainReport)
    wiring = Wiring(graph, "train", Guard(policy, audit))
    wiring.add("authorize", authorize(graph="train", policy=policy, begin=nothing_yet))
    wiring.add("begin", Begin(runs, settings, registry, name))
    evaluating = evaluate(stages, base, runs, registry, name, tracker, settings, embedder)
    prepared = partial(prepare, runs=runs, base=base, seed=seed, policy=policy, judged=evaluating.judged)
    for stage in stages:
        wiring.add(preparing(stage.name), prepared(stage=stage))
    wiring.add("plan", plan(workshop=workshop, settings=settings))
    wiring.add("confirm", Confirm())
    for stage in stages:
        wiring.add(stage.name, Train(stage, workshop, tracker, settings))
    wiring.add("evaluate", evaluating)
    wiring.add("compare", compare(runs=runs, seed=seed))
    wiring.add("register", Register(stages, base, runs, registry, name, settings, evaluating.judged))
    wiring.add("conclude", Conclude(stages, runs, registry, tracker, settings), ends=True)
    connect(graph, [stage.name for stage in stages])
    return graph.compile(name="train", checkpointer=checkpointer)


def connect(graph: StateGraph[TrainState, Caller, TrainRequest, TrainReport], stages: list[str]) -> None:
    """Draw the edges."""
    before = ["authorize", "begin", *map(preparing, stages), "plan", "confirm"]
    after = [*stages, "evaluate", "compare"]
    graph.add_edge(START, "authorize")
    for one, other in (*pairwise(before), *pairwise(after)):
        graph.add_edge(one, other)
    graph.add_conditional_edges("confirm", is_approved, {True: stages[0], False: "conclude"})
    graph.add_conditional_edges("compare", is_better, {True: "register", False: "conclude"})
    graph.add_edge("register", "conclude")
    graph.add_edge("conclude", END)


def preparing(stage: str) -> str:
    """Return what the node is called that prepares a stage's rows."""
    return "prepare" if stage == TRAIN else f"prepare_{stage}"


def name_of(base: Base, stages: Stages) -> str:
    """Return what a model is registered as, unless the config says."""
    origin = origin_of(stages, base)
    return "-".join([*([origin.name] if origin else []), *(stage.method.name for stage in stages)]).lower()


def is_approved(state: TrainState) -> bool:
    """Go on only if somebody said so."""
    return state["approved"]


def is_better(state: TrainState) -> bool:
    """Register only what passed the gate."""
    return bool(state["verdict"]["accepted"])
