"""The question-answering graph: a question in, a cited and checked answer out.

authorize, route, rewrite, retrieve, rerank if configured, follow, compress, generate, validate; then respond,
try once more, quote the sources, or refuse.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from markgraph.audit.types import Audit
from markgraph.citations.types import CitationGraph
from markgraph.graphs.wiring import Wiring
from markgraph.nodes.authorize import Authorize
from markgraph.nodes.compress import Compress
from markgraph.nodes.follow import Follow
from markgraph.nodes.generate import Generate
from markgraph.nodes.quote import Quote
from markgraph.nodes.refuse import refuse
from markgraph.nodes.rerank import Rerank
from markgraph.nodes.respond import respond
from markgraph.nodes.retrieve import Retrieve
from markgraph.nodes.rewrite import rewrite
from markgraph.nodes.route import Domain, Route
from markgraph.nodes.validate import Validate
from markgraph.retrieval.search import Refine
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from markgraph.security.guard import Guard
from markgraph.security.limits import Limits
from markgraph.security.policy import Policy
from markgraph.security.runs import limited
from markgraph.state import Answer, QAState, Question

QAGraph = CompiledStateGraph[QAState, Caller, Question, Answer]


def build(
    *,
    model: BaseChatModel,
    embedder: Embeddings,
    index: Index,
    citations: CitationGraph | None = None,
    domains: Mapping[str, Domain] | None = None,
    authorize: Callable[..., Authorize] = Authorize,
    route: Callable[..., Route] | None = Route,
    retrieve: Callable[..., Retrieve] = Retrieve,
    rerank: Refine | None = None,
    follow: Callable[..., Follow] | None = Follow,
    compress: Callable[..., Compress] | None = Compress,
    generate: Callable[..., Generate] = Generate,
    validate: Callable[..., Validate] = Validate,
    quote: Callable[..., Quote] = Quote,
    max_attempts: int = 2,
    policy: Policy,
    audit: Audit | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    limits: Limits | None = None,
) -> QAGraph:
    """Return the compiled graph. `route`, `rerank`, `follow`, `compress` may be None: they are left out."""
    graph = StateGraph(QAState, Caller, input_schema=Question, output_schema=Answer)
    wiring = Wiring(graph, "qa", Guard(policy, audit))
    wiring.add("authorize", authorize(graph="qa", policy=policy))
    if route:
        wiring.add("route", route(embedder=embedder, domains=domains or {}))
    wiring.add("rewrite", rewrite)
    _add_search(wiring, index, retrieve(index=index), rerank)
    if follow and citations is not None:
        wiring.add("follow", follow(citations=citations, index=index))
    if compress:
        wiring.add("compress", compress(model=model, embedder=embedder, index=index), index)
    wiring.add("generate", generate(model=model, domains=domains or {}), index)
    wiring.add("validate", validate(embedder=embedder), index)
    _add_ends(wiring, index, quote())
    connect(graph, max_attempts=max_attempts)
    return limited(graph.compile(checkpointer=checkpointer, name="qa"), limits)


def _add_search(
    wiring: Wiring,
    index: Index,
    search: Retrieve,
    rerank: Refine | None,
) -> None:
    """Add `retrieve`, which finds more where `rerank` chooses among it."""
    if not rerank:
        wiring.add("retrieve", search)
        return
    wiring.add("retrieve", replace(search, k=max(search.k, rerank.candidates)))
    wiring.add("rerank", Rerank(index, rerank, search.k))


def _add_ends(wiring: Wiring, index: Index, quote: Quote) -> None:
    """Add what a run ends with."""
    wiring.add("quote", quote, index)
    wiring.add("respond", respond, index, ends=True)
    wiring.add("refuse", refuse, index, ends=True)


def connect(graph: StateGraph[QAState, Caller, Question, Answer], *, max_attempts: int) -> None:
    """Draw the edges; they close around a stage that was left out."""
    reading = [stage for stage in ("rerank", "follow", "compress") if stage in graph.nodes]
    graph.add_edge(START, "authorize")
    graph.add_edge("authorize", "route" if "route" in graph.nodes else "rewrite")
    if "route" in graph.nodes:
        graph.add_edge("route", "rewrite")
    graph.add_edge("rewrite", "retrieve")
    found: dict[Hashable, str] = {"found": [*reading, "generate"][0], "nothing found": "refuse"}
    graph.add_conditional_edges("retrieve", after_retrieve, found)
    for stage, after in pairwise([*reading, "generate"]):
        graph.add_edge(stage, after)
    graph.add_edge("generate", "validate")
    graph.add_conditional_edges("validate", partial(after_validate, max_attempts=max_attempts), VERDICTS)
    graph.add_edge("quote", "respond")
    graph.add_edge("respond", END)
    graph.add_edge("refuse", END)


VERDICTS: dict[Hashable, str] = {
    "supported": "respond",
    "once more": "generate",
    "failed too often": "quote",
    "no evidence": "refuse",
}


def after_retrieve(state: QAState) -> str:
    """Tell whether there is anything to answer from."""
    return "found" if state["passages"] else "nothing found"


def after_validate(state: QAState, max_attempts: int) -> str:
    """Tell what the draft has earned."""
    if not state["evidence"]:
        return "no evidence"
    if state["verdict"]["grounded"]:
        return "supported"
    return "once more" if state["attempts"] < max_attempts else "failed too often"
