"""Has a model answer questions from the passages that each comes with."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from langchain_core.runnables.config import ContextThreadPoolExecutor
from langgraph.runtime import Runtime

from markgraph.errors import UsageError
from markgraph.evaluation.beir import Text
from markgraph.evaluation.questions import Question, Questions
from markgraph.evaluation.scoring import Answered
from markgraph.evaluation.state import EvaluateState
from markgraph.nodes.authorize import fresh_turn
from markgraph.nodes.generate import Generate
from markgraph.security.caller import Caller
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Resource
from markgraph.state import Passage


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED, Effect.GENERATES)
@dataclass(frozen=True)
class AnswerQuestions:
    """Asks the model as the graph `qa` does, but with given passages: no search, one attempt, no check."""

    questions: Questions
    generate: Generate
    at_once: int = 1
    """How many questions are asked at the same time; more than one makes each of them slower."""

    def needs(self, state: EvaluateState) -> list[Need]:  # noqa: ARG002
        """Return the permissions to use the model, and to read the passages."""
        read = Need("documents:read", Resource("dataset", str(self.questions.path)))
        return [read, *self.generate.needs(as_turn(Question("", "", (), frozenset(), ())))]

    def __call__(self, state: EvaluateState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return what came back for the next questions."""
        asked = [self.questions.by_id[id_] for id_ in state["left"][: self.at_once]]
        if not state["warm"]:
            self._answer(self.questions.by_id[state["left"][-1]], runtime)
        with ContextThreadPoolExecutor(max_workers=self.at_once) as threads:
            answered = list(threads.map(lambda each: self._answer(each, runtime), asked))
        return {"warm": True, "answered": answered}

    def _answer(self, question: Question, runtime: Runtime[Caller]) -> Answered:
        if not question.passages:
            raise UsageError(
                f"Question {question.id!r} has no passages to be answered from. Give it some, or let "
                "the graph search for them: over=graph."
            )
        began = perf_counter()
        update = self.generate(as_turn(question), runtime)
        return Answered(
            id=question.id,
            answer=update["draft"],
            sources=[each.id for each in question.passages],
            texts=[each.text for each in question.passages],
            route="",
            seconds=perf_counter() - began,
            input_tokens=update["usage"]["input_tokens"],
            output_tokens=update["usage"]["output_tokens"],
        )


def as_turn(question: Question) -> Any:
    """Return what the graph `qa` knows when it has found a question's passages, and has not answered yet."""
    return fresh_turn() | {
        "question": question.text,
        "standalone": question.text,
        "passages": passages_of(question.passages),
    }


def passages_of(texts: Sequence[Text]) -> list[Passage]:
    """Return whole documents as passages."""
    return [
        Passage(
            ids=[],
            text=each.text,
            source=each.id,
            title=each.title,
            heading=[],
            page=None,
            page_breaks=[],
            start=0,
            end=len(each.text),
            score=0.0,
            metadata={},
        )
        for each in texts
    ]
