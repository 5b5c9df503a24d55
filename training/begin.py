"""Begins a run: a folder of its own, and the config that it goes on with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from langgraph.runtime import Runtime

from markgraph.errors import DeniedError, UsageError
from markgraph.models.registry import Registry
from markgraph.models.registry_watch import watch
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Resource
from markgraph.training.inherited import require_own, require_usable
from markgraph.training.runs import Runs, read_json, write_json, write_text
from markgraph.training.state import TrainState

PLACES = ("runs", "registry", "settings")
"""What the graph's config says of where things are kept: no result depends on that, or on the tracker."""


@does(Effect.STORES)
@dataclass(frozen=True)
class Begin:
    """Claims the run's folder for the one who began it, and writes config.yaml."""

    runs: Runs
    settings: Mapping[str, Any]
    """The config's groups that a training depends on."""
    registry: Registry
    name: str
    """What the model is to be registered as."""

    def needs(self, state: TrainState) -> list[Need]:  # noqa: ARG002
        """Return the permission to train models."""
        return [Need("models:train", Resource("model"))]

    def __call__(self, state: TrainState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return nothing that the state holds.

        Raises:
            DeniedError: the caller may not use a model that this training uses, or is compared with, or has
                less rights than when the run began that is to go on.
            UsageError: there is a run of that name already, or none that can go on.
        """
        folder = self.runs.of(state.get("run", ""))
        require_usable(self.settings, self.runs, caller_of(runtime))
        require_own(self.registry, self.name, caller_of(runtime))
        claim = folder / "run.json"
        ours = {"owner": state["owner"], "run_id": state["run_id"], "grants": state["grants"]}
        if state.get("resume"):
            self._check_goes_on(folder, ours)
        elif claim.exists() and read_json(claim) != ours:  # ours: killed before this node was done
            raise _taken(state["run"])
        write_json(claim, ours)
        watch(self.registry.folder, state["run"])
        write_text(folder / "config.yaml", yaml.safe_dump(dict(self.settings), sort_keys=False))
        return {}

    def require_same(self, run: str, *, has_begun: bool) -> None:
        """Refuse the name of a run that began with other settings than these, or whose folder is gone.

        Raises:
            UsageError: saying what to do; one that has not begun may have no folder yet.
        """
        folder = self.runs.of(run)
        place = folder / "config.yaml"
        if place.is_file():
            if hash_of(yaml.safe_load(place.read_text("utf-8"))) != hash_of(self.settings):
                raise _taken(run, ", begun with other settings than these")
        elif has_begun:
            raise UsageError(
                f"There was a run {run!r} already, and its folder {folder} is gone. Choose another name with "
                "run=NAME, or leave it out."
            )

    def _check_goes_on(self, folder: Path, ours: Mapping[str, Any]) -> None:
        """Refuse to go on with somebody else's run, with other settings or rights, or behind its end."""
        began = read_json(folder / "run.json") if (folder / "config.yaml").is_file() else {}
        if began.get("owner") != ours["owner"]:
            raise UsageError(f"There is no run {folder.name!r} of yours. Begin one: run=NAME.")
        if lost := sorted(set(began["grants"]) - set(ours["grants"])):
            raise DeniedError(
                f"Run {folder.name!r} began with rights that its caller no longer has: {', '.join(lost)}. "
                "Begin another run."
            )
        kept = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
        if hash_of(kept) != hash_of(self.settings):
            raise UsageError(
                f"Run {folder.name!r} began with other settings than these. Go on with it where those are "
                f"taken from it, `markgraph train resume={folder.name}`, or begin another run."
            )
        if self._is_done(folder):
            raise UsageError(f"Run {folder.name!r} is finished. Begin another.")

    def _is_done(self, folder: Path) -> bool:
        """Tell whether a run has its verdict, and is registered if that is a good one."""
        if not (folder / "verdict.json").exists():
            return False
        registered = any(each.card.run == folder.name for each in self.registry.versions(self.name))
        return registered or not read_json(folder / "verdict.json")["accepted"]


def _taken(run: str, how: str = "") -> UsageError:
    return UsageError(
        f"There is a run {run!r} already{how}. Choose another name with run=NAME, or go on with that one: "
        f"markgraph train resume={run}."
    )


def hash_of(settings: Mapping[str, Any]) -> str:
    """Return the digest of what a training depends on."""
    kept = {key: value for key, value in settings.items() if key != "tracker"}
    if graph := kept.get("graph"):
        kept["graph"] = {key: value for key, value in graph.items() if key not in PLACES}
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
