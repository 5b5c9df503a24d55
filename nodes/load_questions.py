"""Gets the questions of an evaluation ready."""

from dataclasses import dataclass
from typing import Any

from markgraph.evaluation.log import AnswerLog
from markgraph.evaluation.questions import Questions
from markgraph.evaluation.state import EvaluateState
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Resource


@does(Effect.READS_PRIVATE, Effect.STORES)
@dataclass(frozen=True)
class LoadQuestions:
    """Reads the questions, and begins a log of the answers or goes on with it."""

    questions: Questions
    log: AnswerLog

    def needs(self, state: EvaluateState) -> list[Need]:  # noqa: ARG002
        """Return the permission to read the data set."""
        return [Need("documents:read", Resource("dataset", str(self.questions.path)))]

    def __call__(self, state: EvaluateState) -> dict[str, Any]:
        """Return the questions that are still to be asked.

        Raises:
            UsageError: the data set is missing or malformed.
        """
        asked = list(self.questions.by_id)
        done = set(self.log.begin(resume=state.get("resume", False)))
        left = [id_ for id_ in asked if id_ not in done]
        return {"left": left, "total": len(asked), "warm": False, "answered": []}
