"""Scores the candidate, and what is in service, on the same held-back rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langgraph.runtime import Runtime

from markgraph.errors import ConfigError
from markgraph.evaluation.comparison import MIN_ROWS
from markgraph.ingestion.interrupt import check_interrupted
from markgraph.models.registry import Registry
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.training.answers import LATENCY, Model, answer_scores
from markgraph.training.base import Base
from markgraph.training.extra import quiet
from markgraph.training.inherited import require_own
from markgraph.training.journal import Journal
from markgraph.training.judged import Judged
from markgraph.training.pipeline import Stages, candidate_of, method_of, stage_folder
from markgraph.training.port import Scores
from markgraph.training.rows import Row
from markgraph.training.runs import Runs, alone, means, write_json
from markgraph.training.state import TrainState
from markgraph.training.stopping import stopped_when_cancelled
from markgraph.training.tracking import Tracker, about

CHAMPION, CANDIDATE = "champion", "candidate"


@does(Effect.STORES)
@dataclass(frozen=True)
class Evaluate:
    """Writes scores/champion.json and scores/candidate.json: a value for each row, by metric.

    Rows that were held back are as good or bad as those that were learned from. Judged ones, which `rows`
    names, show a poisoned set of data for what it is.
    """

    stages: Stages
    base: Base
    runs: Runs
    registry: Registry
    name: str
    """What the model is registered as."""
    tracker: Tracker | None
    settings: Mapping[str, Any]
    embedder: Embeddings
    """What the validator compares an answer's sentences with."""
    rows: str | None = None
    """A file of rows to score on, in any layout of `data=jsonl`; None: those that were held back."""
    most: int | None = None
    """So many of these rows at most, by lot: to score long ones can take longer than to train; None: all."""
    answers: int | None = 48
    """Of these rows, how many both models answer, so that guards can look at that; None: none."""

    def __post_init__(self) -> None:
        for name, key, instead in (("answers", "graph.evaluate.answers", "none"), ("most", "scored", "all")):
            value = getattr(self, name)
            if value is not None and value < MIN_ROWS:
                raise ConfigError(
                    f"{key} is {value}. Allowed: {MIN_ROWS} or more, since fewer are too "
                    f"few to tell, or null for {instead}."
                )
        if self.rows is not None and not Path(self.rows).expanduser().is_file():
            raise ConfigError(
                f"graph.evaluate.rows is {self.rows!r}. Allowed: a file of rows, as JSON lines."
            )

    @property
    def judged(self) -> Judged | None:
        """The rows that `rows` names."""
        if self.rows is None:
            return None
        return Judged(Path(self.rows).expanduser(), self.stages[-1].method.kind)

    def __call__(self, state: TrainState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the means."""
        run = self.runs.of(state["run"])
        with alone(run):  # two would write into one journal
            return self._scored(run, state, runtime)

    async def acall(self, state: TrainState, runtime: Runtime[Caller]) -> Mapping[str, Any]:
        """Do the same in a thread; when the run is cancelled, behind the row under way."""
        return await stopped_when_cancelled(self, state, runtime)

    def _scored(self, run: Path, state: TrainState, runtime: Runtime[Caller]) -> dict[str, Any]:
        last = self.stages[-1]
        rows = some_of(self._rows(run, caller_of(runtime)), self.most)
        method = method_of(last, run)
        require_own(self.registry, self.name, caller_of(runtime))  # another may be in service by now
        models = {CHAMPION: self._in_service(), CANDIDATE: candidate_of(self.stages, self.base, run)}
        answered = self._answers(models, rows, run, runtime)
        found = {}
        for who, (base, model) in models.items():
            each = self._journal(run, who, f"the {who}", [models[who]], runtime)
            each.tell(0, len(rows))
            with quiet():
                scored = method.scores(base, model, rows, each)
            scores = {metric: list(values) for metric, values in scored.items()} | answered.get(who, {})
            check_interrupted()
            write_json(run / "scores" / f"{who}.json", scores)
            found[who] = means(scores)
        with about(self.tracker, state, self.settings) as tracking:
            tracking.log(figures_of(found), 0)
            tracking.keep([run / "scores" / f"{who}.json" for who in found], "scores")
        return {"scores": found, "metric": method.metric}

    def _answers(
        self, models: Mapping[str, Model], rows: Sequence[Row], run: Path, runtime: Runtime[Caller]
    ) -> Mapping[str, Scores]:
        if self.answers is None:
            return {}
        each = self._journal(run, "answers", "the answers of both", models.values(), runtime)
        with quiet():
            return answer_scores(models, rows, self.answers, self.embedder, self.settings["model"], each)

    def _rows(self, run: Path, caller: Caller) -> Sequence[Row]:
        """Return the rows to score on: none that was learned from, or is of a document that was."""
        if self.judged is None:
            return self.runs.rows(stage_folder(run, self.stages[-1].name) / "rows" / "held.jsonl")
        learned: set[str] = set()
        for stage in self.stages:
            for row in self.runs.rows(stage_folder(run, stage.name) / "rows" / "train.jsonl"):
                learned.update((row["id"], *row["documents"]))
        return [row for row in self.judged.rows(caller) if learned.isdisjoint((row["id"], *row["documents"]))]

    def _journal(
        self, run: Path, name: str, what: str, models: Iterable[Model], runtime: Runtime[Caller]
    ) -> Journal:
        """Return what keeps the values of rows, for these models: another may be in service by now."""
        about = [str(part) for base, model in models for part in (base.source, base.sha256, model)]
        about.append(str(getattr(self.embedder, "name", "")))
        return Journal(
            run / "scores" / f"{name}.jsonl",
            about,
            lambda row, rows: runtime.stream_writer({"scoring": what, "row": row, "rows": rows}),
        )

    def _in_service(self) -> tuple[Base, Path | None]:
        """Return the champion, over the base that it was trained from; without one, the run's base is it."""
        if CHAMPION not in self.registry.aliases(self.name):
            return self.base, None
        origin = self.registry.get(self.name, CHAMPION).card.base
        model = self.registry.weights(self.name, CHAMPION)
        if origin is None:
            return self.base, model
        return replace(self.base, name=origin.name, source=origin.source, sha256=origin.sha256), model


def figures_of(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return what a tracker is told of means: people read latency there, so it is seconds without a minus."""
    return {
        f"{who}/{metric}": -value if metric == LATENCY else value
        for who, each in found.items()
        for metric, value in each.items()
    }


def some_of(rows: Sequence[Row], most: int | None) -> Sequence[Row]:
    """Return `most` of the rows at most, in their order: the same whenever a run goes on."""
    if most is None or len(rows) <= most:
        return rows
    drawn = np.random.default_rng(0).choice(len(rows), most, replace=False)
    return [rows[at] for at in sorted(drawn)]
