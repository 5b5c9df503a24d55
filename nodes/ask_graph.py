"""Asks a whole graph the questions of an evaluation."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

from langchain_core.runnables.config import ContextThreadPoolExecutor
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from markgraph.evaluation.questions import Question, Questions
from markgraph.evaluation.scoring import Answered
from markgraph.evaluation.state import EvaluateState
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Resource
from markgraph.validation.refusals import REFUSAL


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED, Effect.GENERATES)
@dataclass(frozen=True)
class AskGraph:
    """Asks a graph that answers questions, as the one who evaluates: it searches what they may read."""

    questions: Questions
    graph: CompiledStateGraph[Any, Any, Any, Any]
    at_once: int = 1
    """How many questions are asked at the same time; more than one makes each of them slower."""

    def needs(self, state: EvaluateState) -> list[Need]:  # noqa: ARG002
        """Return the permission to run the graph; it asks for the others itself."""
        return [Need("graph:run", Resource("graph", self.graph.get_name()))]

    def __call__(self, state: EvaluateState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return what came back for the next questions."""
        caller = caller_of(runtime)
        asked = [self.questions.by_id[id_] for id_ in state["left"][: self.at_once]]
        if not state["warm"]:
            self._ask(self.questions.by_id[state["left"][-1]], caller)
        with ContextThreadPoolExecutor(max_workers=self.at_once) as threads:
            answered = list(threads.map(lambda each: self._ask(each, caller), asked))
        return {"warm": True, "answered": answered}

    def _ask(self, question: Question, caller: Caller) -> Answered:
        began = perf_counter()
        said = self.graph.invoke({"question": question.text}, context=caller)
        return Answered(
            id=question.id,
            answer=REFUSAL if said["refused"] else said["answer"],
            sources=[citation["source"] for citation in said["citations"]],
            texts=[citation["quote"] for citation in said["citations"]],
            route=said["domain"],
            seconds=perf_counter() - began,
            input_tokens=said["usage"]["input_tokens"],
            output_tokens=said["usage"]["output_tokens"],
        )
