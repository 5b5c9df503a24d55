"""Begins a run: a folder of its own, and the config that it goes on with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import yaml
from langgraph.runtime import Runtime

from markgraph.errors import UsageError
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
            DeniedError: the caller may not use a model that this training uses, or is compared with.
            UsageError: there is a run of that name already.
        """
        folder = self.runs.of(state["run"])
        require_usable(self.settings, self.runs, caller_of(runtime))
        require_own(self.registry, self.name, caller_of(runtime))
        claim = folder / "run.json"
        ours = {"owner": state["owner"], "run_id": state["run_id"]}
        if claim.exists() and read_json(claim) != ours:  # ours: killed before this node was done
            raise UsageError(
                f"There is a run {state['run']!r} already. Choose another name with run=NAME, or go on with "
                f"that one: markgraph train resume={state['run']}."
            )
        write_json(claim, ours)
        watch(self.registry.folder, state["run"])
        write_text(folder / "config.yaml", yaml.safe_dump(dict(self.settings), sort_keys=False))
        return {}


def hash_of(settings: Mapping[str, Any]) -> str:
    """Return the digest of what a training depends on."""
    kept = {key: value for key, value in settings.items() if key != "tracker"}
    if graph := kept.get("graph"):
        kept["graph"] = {key: value for key, value in graph.items() if key not in PLACES}
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
