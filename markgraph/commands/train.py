"""`markgraph train`: a plan, a word, and a model that is better than the one in service."""

import re
import secrets
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command
from omegaconf import DictConfig, OmegaConf

from markgraph.audit.configs import WITHHELD
from markgraph.build import Graph, build_graph, make
from markgraph.commands.checks import OUTPUTS, check_choice
from markgraph.commands.train_progress import Progress
from markgraph.commands.train_report import print_plan, print_report
from markgraph.commands.training_runs import alone, folder_of
from markgraph.errors import UsageError
from markgraph.ingestion.interrupt import heeding_ctrl_c
from markgraph.launching.outcome import Outcome
from markgraph.launching.processes import leading, rank
from markgraph.retrieval.storage import storage_errors
from markgraph.security.caller import Caller, thread_key
from markgraph.verification.verify import require_safe
from markgraph.verification.wrapped import node_of

NO_BETTER = 3
JOINS = ("stages", "settings", "runs", "seed", "authorize", "policy", "audit")
"""What of the graph's settings a process beside the first needs."""
FOLLOWED = "tracker"
"""A group that a run may go on with another of: nothing that it comes to depends on it."""
STARTING = ("seed", "name", "run", "scored")
"""Settings, beside the groups that it keeps, that a run has from its beginning."""


def run(config: DictConfig) -> Outcome:
    """Plan, and train if that is confirmed; return 0, or 3 where the gate refused what was trained.

    A sweep looks at what the candidate reaches in the metric that it has to be better in.
    """
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "confirm", (None, True, False))
    _check_name("resume", config.resume)
    _check_name("run", config.run)
    if config.resume is not None:
        config = _as_it_began(config)
    name = str(config.resume or config.run or _new_name())
    caller: Caller = make(config, "auth").caller
    if rank():
        _join_in(config, caller)
        return Outcome(0)
    graph = require_safe(build_graph(config))
    thread: RunnableConfig = {"configurable": {"thread_id": thread_key(caller, f"train:{name}")}}
    with (
        storage_errors(Path(config.data_dir)),
        alone(folder_of(config) / name),
        heeding_ctrl_c(),
        leading(),
    ):
        try:
            return _carried_out(graph, caller, thread, config, name)
        except KeyboardInterrupt:
            print(f"Go on with: markgraph train resume={name} confirm=true", file=sys.stderr)  # noqa: T201
            raise


def _carried_out(
    graph: Graph, caller: Caller, thread: RunnableConfig, config: DictConfig, name: str
) -> Outcome:
    """Run the graph to its end, or to its plan."""
    snapshot = graph.get_state(thread)
    if config.resume is None and snapshot.values:
        begin: Any = node_of(graph.builder.nodes["begin"].runnable)
        due = {each.name for each in snapshot.tasks}
        begin.require_same(name, has_begun=due.isdisjoint({"authorize", "begin"}))
    state, asked = dict(snapshot.values), [each.value for each in snapshot.interrupts]
    done = bool(snapshot.values) and not snapshot.tasks  # `next` leaves out tasks whose writes are stored
    if not done and not asked:
        # Begun elsewhere, by an app or LangGraph Server: only the run's folder tells of it here.
        start = {"run": name, "resume": config.resume is not None}
        is_begun = bool(snapshot.values) and "begin" not in snapshot.next
        state, asked = _run(graph, None if is_begun else start, caller, thread)
    if asked:
        print_plan(state, config)
        if not _is_confirmed(config):
            return Outcome(0)
        state, _ = _run(graph, Command(resume=True), caller, thread)
    print_report(state, config, done_before=done)
    is_refused = bool(state.get("verdict")) and not state["verdict"]["accepted"]
    metric, made = state.get("metric") or "figure", state.get("registered")
    figure = state.get("scores", {}).get("candidate", {}).get(metric)
    named = f"{made['name']}@{made['version']}" if made else None
    return Outcome(NO_BETTER if is_refused else 0, figure, metric, made=named)


def _join_in(config: DictConfig, caller: Caller) -> None:
    """Take part in the trainings of the first of several processes, and say nothing."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    config.graph = {key: config.graph[key] for key in JOINS} | {"_target_": "markgraph.training.join.build"}
    require_safe(build_graph(config)).invoke({"run": ""}, context=caller)


def _run(
    graph: Graph, start: Any, caller: Caller, thread: RunnableConfig
) -> tuple[dict[str, Any], list[Any]]:
    """Return the state, and what a person is asked, if the run stopped for that."""
    state: dict[str, Any] = {}
    asked: list[Any] = []
    stream: Iterator[Any] = graph.stream(
        start, thread, context=caller, stream_mode=["custom", "updates", "values"], durability="sync"
    )
    with Progress() as progress:
        for mode, part in stream:
            if mode == "custom":
                progress.show(part)
            elif mode == "values":
                state = part
            elif "__interrupt__" in part:
                asked = [each.value for each in part["__interrupt__"]]
    return state, asked


def _check_name(key: str, name: object) -> None:
    """Refuse a name that is no folder of its own below that of all runs."""
    if name is not None and (Path(str(name)).name != str(name) or str(name) in (".", "..")):
        raise UsageError(f"Config {key!r} has value {name!r}. Allowed: the name of a run, without a folder.")


def _is_confirmed(config: DictConfig) -> bool:
    """Tell whether to go on: as the config says, or a person at the terminal."""
    if config.confirm is not None or config.output == "json" or sys.stdin is None or not sys.stdin.isatty():
        return bool(config.confirm)
    try:
        return input("Train this? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _as_it_began(config: DictConfig) -> DictConfig:
    """Return `config` with the settings that the run to go on with has begun with.

    Who is asking, what they may do, and where that is taken down is as it is now.
    """
    place = folder_of(config) / str(config.resume) / "config.yaml"
    if not place.is_file():
        raise UsageError(
            f"There is no run {config.resume!r} in {place.parents[1]}. {_known(place.parents[1])}"
        )
    kept = yaml.safe_load(place.read_text("utf-8"))
    overrides = HydraConfig.get().overrides.task
    if any(_key(override) == FOLLOWED for override in overrides):
        kept.pop(FOLLOWED, None)
    withheld, given = set(_withheld(kept)), dict[str, Any]()
    for override in overrides:
        key = _key(override)
        if key in withheld or key.startswith(f"{FOLLOWED}."):
            given[key] = OmegaConf.select(config, key)
        elif key.partition(".")[0].partition("@")[0] in (*kept, *STARTING) and key != FOLLOWED:
            raise UsageError(
                f"{override!r} can't be changed any more: run {config.resume!r} goes on with the settings "
                "that it began with. Leave it out, or begin another run."
            )
    if missing := sorted(withheld - given.keys()):
        raise UsageError(
            f"Secrets are not kept with a run, and run {config.resume!r} began with one in "
            f"{', '.join(missing)}. Give it again: {missing[0]}=VALUE, or +{missing[0]}=VALUE if it is not "
            "in the usual config. One that begins with '${oc.env:NAME}' there has it from the environment."
        )
    config = config.copy()
    OmegaConf.set_struct(config, False)
    was = str(Path(kept["graph"]["runs"]["folder"]).parent)
    for key, value in kept.items():
        config[key] = _moved(value, was, str(Path(config.data_dir).expanduser().absolute()))
    for key, value in given.items():
        OmegaConf.update(config, key, value)
    return config


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _withheld(value: Any, key: str = "") -> Iterator[str]:
    """Yield the keys of the secrets that were left out of settings."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _withheld(each, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for at, each in enumerate(value):
            yield from _withheld(each, f"{key}.{at}")
    elif value == WITHHELD:
        yield key


def _moved(value: Any, was: str, now: str) -> Any:
    """Return settings with what was below folder `was` below `now`: the data folder was moved."""
    if isinstance(value, dict):
        return {key: _moved(each, was, now) for key, each in value.items()}
    if isinstance(value, list):
        return [_moved(each, was, now) for each in value]
    # It begins a path, or what stands behind the scheme of a reference: file:/was/..., sqlite:////was/...
    below = rf"(^|:|(?<=:///)){re.escape(was)}(?=/|$)"
    return re.sub(below, lambda found: found[1] + now, value) if isinstance(value, str) else value


def _known(folder: Path) -> str:
    names = sorted(place.parent.name for place in folder.glob("*/config.yaml"))
    return f"Allowed: {', '.join(names[-10:])}." if names else "None was begun."


def _new_name() -> str:
    choices = HydraConfig.get().runtime.choices
    what = choices["method"] if choices["pipeline"] == "none" else choices["pipeline"]
    return f"{datetime.now():%Y%m%d-%H%M%S}-{what}-{secrets.token_hex(2)}"
