"""The evaluation graph: judged questions in, scores, intervals and a report out.

authorize, load; answer and score until no question is left; report.
"""

from collections.abc import Callable
from typing import Literal

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from markgraph.audit.types import Audit
from markgraph.errors import ConfigError
from markgraph.evaluation.log import AnswerLog
from markgraph.evaluation.questions import Questions
from markgraph.evaluation.state import EvaluateReport, EvaluateRequest, EvaluateState
from markgraph.graphs.qa import QAGraph
from markgraph.graphs.wiring import Wiring
from markgraph.nodes.answer_questions import AnswerQuestions
from markgraph.nodes.ask_graph import AskGraph
from markgraph.nodes.authorize import Authorize
from markgraph.nodes.generate import Generate
from markgraph.nodes.load_questions import LoadQuestions
from markgraph.nodes.report_answers import ReportAnswers
from markgraph.nodes.score_answers import ScoreAnswers
from markgraph.security.caller import Caller
from markgraph.security.guard import Guard
from markgraph.security.policy import Policy

STEPS = 10**9
"""There may be any number of questions."""
EvaluateGraph = CompiledStateGraph[EvaluateState, Caller, EvaluateRequest, EvaluateReport]


def build(
    *,
    model: BaseChatModel,
    embedder: Embeddings,
    questions: Questions,
    log: AnswerLog,
    asked: QAGraph,
    over: Literal["passages", "graph"] = "passages",
    at_once: int = 1,
    authorize: Callable[..., Authorize] = Authorize,
    generate: Callable[..., Generate] = Generate,
    policy: Policy,
    audit: Audit | None = None,
) -> EvaluateGraph:
    """Return the compiled graph. Not a checkpointer but the log lets an interrupted run go on.

    `over="passages"` asks `model` alone, with given passages, and `over="graph"` asks `asked`.

    Raises:
        ConfigError: `over` is neither.
    """
    ways = {
        "passages": AnswerQuestions(questions, generate(model=model), at_once),
        "graph": AskGraph(questions, asked, at_once),
    }
    if over not in ways:
        raise ConfigError(f"Config 'over' has value {over!r}. Allowed: {', '.join(ways)}.")
    graph = StateGraph(EvaluateState, Caller, input_schema=EvaluateRequest, output_schema=EvaluateReport)
    wiring = Wiring(graph, "evaluate", Guard(policy, audit))
    wiring.add("authorize", authorize(graph="evaluate", policy=policy, begin=dict))
    wiring.add("load", LoadQuestions(questions, log))
    wiring.add("answer", ways[over])
    wiring.add("score", ScoreAnswers(questions, log, embedder))
    wiring.add("report", ReportAnswers(questions, log, over), ends=True)
    connect(graph)
    return graph.compile(name="evaluate").with_config(recursion_limit=STEPS)


def connect(graph: StateGraph[EvaluateState, Caller, EvaluateRequest, EvaluateReport]) -> None:
    """Draw the edges."""
    graph.add_edge(START, "authorize")
    graph.add_edge("authorize", "load")
    graph.add_conditional_edges("load", next_step, ["answer", "report"])
    graph.add_edge("answer", "score")
    graph.add_conditional_edges("score", next_step, ["answer", "report"])
    graph.add_edge("report", END)


def next_step(state: EvaluateState) -> str:
    """Go on as long as there is a question to ask."""
    return "answer" if state["left"] else "report"
