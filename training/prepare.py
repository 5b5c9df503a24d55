"""Writes the rows of a stage into its folder: those to learn from, and those that are held back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from langgraph.runtime import Runtime

from markgraph.models.chat_template import TurnsError
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Policy
from markgraph.training.base import Base
from markgraph.training.data.select import LONG, Selection, Selector
from markgraph.training.data.source import COLUMNS
from markgraph.training.judged import Judged
from markgraph.training.pipeline import Stage, stage_folder
from markgraph.training.render import completion_ids, prompt_ids
from markgraph.training.rows import Row
from markgraph.training.runs import Runs
from markgraph.training.state import Prepared, TrainState

REFUSED = "has turns that the model's chat template does not take"
SAID = ("completion", "chosen", "rejected")
"""What may stand behind a prompt."""


@runtime_checkable
class Bounded(Protocol):
    """A method whose rows may not be of any length."""

    @property
    def max_tokens(self) -> int | None:
        """Return how many tokens a row may have; None: as many as the model takes."""


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED, Effect.STORES)
@dataclass(frozen=True)
class Prepare:
    """Takes the rows that the caller may train on, each once, and splits them by document.

    The same for the same seed, also when it was killed before; what is done is not done again.
    """

    stage: Stage
    runs: Runs
    base: Base
    seed: int
    policy: Policy
    held: float = 0.1
    """The part of the rows that is held back."""
    similar: float | None = 0.85
    """Rows with so many of their shingles in common are near-duplicates; None keeps all but equal ones."""
    limit: int | None = None
    """Take the first so many rows."""
    judged: Judged | None = None
    """Rows to score on later: an error in them is told before anything is trained."""

    def __post_init__(self) -> None:
        self._selection  # noqa: B018 -- wrong settings are an error before anything runs

    def __call__(self, state: TrainState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return how many rows there are, and how many were left out for which reason.

        Raises:
            UsageError: no row is left, none can be held back, or a judged one is no good.
        """
        folder = stage_folder(self.runs.of(state["run"]), self.stage.name)
        kind = self.stage.method.kind
        caller = caller_of(runtime)
        if self.judged is not None and self.judged.kind == kind:
            self.judged.rows(caller, self._objection())  # scored in all its length
        method = self.stage.method
        objection = self._objection(method.max_tokens if isinstance(method, Bounded) else None)
        sealing = self.runs.sealing(caller.tenant)
        selector = Selector(caller, self.policy, self._selection, self.seed, objection, sealing)
        report = selector.select(self.stage.data, kind, folder)
        keys = ("rows", "held", "sha256", "left_out")
        prepared: Prepared = {key: report[key] for key in keys}  # type: ignore[assignment]
        return {"prepared": {self.stage.name: prepared}}

    @property
    def _selection(self) -> Selection:
        return Selection(self.held, self.similar, self.limit)

    def _objection(self, most: int | None = None) -> Callable[[Row], str | None] | None:
        """Return what says why the model can't take a row of so many tokens; None where it takes any row."""
        if "messages" not in COLUMNS[self.stage.method.kind]:
            return None
        least = min((bound for bound in (most, self.base.window) if bound is not None), default=None)
        return partial(self._refusal, least)

    def _refusal(self, most: int | None, row: Row) -> str | None:
        try:
            count = self._tokens(row)
        except TurnsError:
            return REFUSED
        return LONG if most is not None and count > most else None

    def _tokens(self, row: Row) -> int:
        """Return the tokens of a prompt and the longest of what may stand behind it."""
        prompt = prompt_ids(self.base, row["messages"])
        said = [row[name] for name in SAID if name in row]  # type: ignore[literal-required]
        answers = [len(completion_ids(self.base, text)) for text in said]
        return len(prompt) + max(answers, default=0)
