"""Registers what passed the gate, with its card, if what is served is what was trained."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.runtime import Runtime

from markgraph.models.cards import Card, Origin, lineage
from markgraph.models.catalog import settings_of
from markgraph.models.registry import SCHEME, Registry, pinned
from markgraph.models.source import digest, resolve
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Resource
from markgraph.training.base import Base
from markgraph.training.extra import quiet
from markgraph.training.inherited import learned_before, texts_in, with_inherited
from markgraph.training.judged import Judged
from markgraph.training.parity import check_parity
from markgraph.training.pipeline import Stages, candidate_of, origin_of, stage_folder
from markgraph.training.rows import Row
from markgraph.training.runs import Runs, write_json
from markgraph.training.scoring import speaks
from markgraph.training.state import TrainState

ALIAS = "challenger"


@does(Effect.SIDE_EFFECTS, Effect.STORES)
@dataclass(frozen=True)
class Register:
    """Makes the candidate the challenger. A run is registered once, however often it is killed here."""

    stages: Stages
    base: Base
    runs: Runs
    registry: Registry
    name: str
    settings: Mapping[str, Any]
    judged: Judged | None = None
    """What the candidate was scored on instead of rows that were held back."""

    def needs(self, state: TrainState) -> list[Need]:  # noqa: ARG002
        """Return the permission to register the model."""
        return [Need("models:register", Resource("model", self.name))]

    def __call__(self, state: TrainState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return what was registered.

        Raises:
            ParityError: the model would be served otherwise than it was trained.
        """
        run, caller = self.runs.of(state["run"]), caller_of(runtime)
        rows = [row for stage in self.stages for row in self._rows(run, stage.name, "train")]
        before = learned_before(self.settings, self.runs)
        learned = with_inherited(lineage(rows, caller.tenant), before)
        _, model = candidate_of(self.stages, self.base, run)
        parity = self._parity(run, model, caller)
        card = Card(
            base=self._origin(),
            models=tuple(
                sorted({pinned(each) for each in texts_in(self.settings) if each.startswith(SCHEME)})
            ),
            method="+".join(stage.method.name for stage in self.stages),
            run=state["run"],
            by=caller.subject,
            tenant=caller.tenant,
            config=state["plan"]["config_hash"],
            rows=learned.rows,
            documents=learned.documents,
            audience=learned.audience,
            scores=state["scores"],
            verdict=state["verdict"],
            parity=parity,
        )
        version = self.registry.add(self.name, model, card)
        self.registry.alias(self.name, ALIAS, version)
        return {"registered": {"name": self.name, "version": version, "alias": ALIAS}}

    def _parity(self, run: Path, model: Path, caller: Caller) -> dict[str, Any] | None:
        """Return how near what is served is to what was trained; None of a model that nobody chats with."""
        if not speaks(model) or not (shown := self._prompted(run, caller)):
            return None
        mode = settings_of(self.settings["model"]).get("mode", "fast")
        with quiet():
            found = check_parity(self.base, model, shown, mode=mode).as_json()
        write_json(run / "parity.json", found)
        return found

    def _prompted(self, run: Path, caller: Caller) -> list[Row]:
        """Return rows with a prompt, of the first place that has some; none of a kind without prompts."""
        for rows in self._shown(run, caller):
            if found := [row for row in rows if "messages" in row]:
                return found
        return []

    def _shown(self, run: Path, caller: Caller) -> Iterator[list[Row]]:
        """Yield the rows that were held back, those that are judged, and those that were learned from."""
        last = self.stages[-1].name
        yield self._rows(run, last, "held")
        if self.judged is not None:
            yield self.judged.rows(caller)
        yield self._rows(run, last, "train")

    def _rows(self, run: Path, stage: str, part: str) -> list[Row]:
        return list(self.runs.rows(stage_folder(run, stage) / "rows" / f"{part}.jsonl"))

    def _origin(self) -> Origin | None:
        """Return what the candidate goes back to; None if it was trained from nothing."""
        base = origin_of(self.stages, self.base)
        if base is None:
            return None
        source = pinned(base.source)
        return Origin(name=base.name, source=source, sha256=digest(resolve(source, base.sha256)))
