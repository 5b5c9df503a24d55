"""Scores answers against what is known to be right."""

from dataclasses import dataclass
from typing import Any

from langchain_core.embeddings import Embeddings

from markgraph.evaluation.log import AnswerLog
from markgraph.evaluation.questions import Questions
from markgraph.evaluation.scoring import record_of
from markgraph.evaluation.state import EvaluateState
from markgraph.security.effects import Effect, does


@does(Effect.VALIDATES, Effect.STORES)
@dataclass(frozen=True)
class ScoreAnswers:
    """Scores what came back, writes it down, and checks the answers' claims against the passages."""

    questions: Questions
    log: AnswerLog
    embedder: Embeddings

    def __call__(self, state: EvaluateState) -> dict[str, Any]:
        """Return the questions that are still to be asked."""
        embed = self.embedder.embed_documents
        self.log.add(record_of(self.questions.by_id[each["id"]], each, embed) for each in state["answered"])
        done = {each["id"] for each in state["answered"]}
        return {"left": [id_ for id_ in state["left"] if id_ not in done], "answered": []}
