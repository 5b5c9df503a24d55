"""The agent graph: the model and its tools in a loop, with a person's word before side effects.

authorize, generate, then approve and call_tools as long as the model asks; validate, and respond,
quote, or refuse. What the tools found in `index` is asked for again before it is used.
"""

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from markgraph.graphs.wiring import add
from markgraph.nodes.approve import Approve
from markgraph.nodes.authorize import Authorize, fresh_agent_turn
from markgraph.nodes.call_tools import CallTools
from markgraph.nodes.generate_with_tools import GenerateWithTools
from markgraph.nodes.quote import Quote
from markgraph.nodes.refuse import refuse
from markgraph.nodes.respond import respond
from markgraph.nodes.rewrite import rewrite
from markgraph.nodes.validate import Validate
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from markgraph.security.limits import Limits
from markgraph.security.runs import limited
from markgraph.state import AgentState, Answer, Question

AgentGraph = CompiledStateGraph[AgentState, Caller, Question, Answer]


def build(
    *,
    model: BaseChatModel,
    embedder: Embeddings,
    index: Index,
    tools: Sequence[BaseTool],
    authorize: Callable[..., Authorize] = Authorize,
    generate: Callable[..., GenerateWithTools] = GenerateWithTools,
    validate: Callable[..., Validate] = Validate,
    quote: Callable[..., Quote] = Quote,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    limits: Limits | None = None,
) -> AgentGraph:
    """Return the compiled graph. Without a checkpointer a run that needs approval cannot be resumed."""
    ask = generate(model=model, tools=tools)
    graph = StateGraph(AgentState, Caller, input_schema=Question, output_schema=Answer)
    add(graph, "authorize", authorize(begin=fresh_agent_turn))
    add(graph, "rewrite", rewrite)
    add(graph, "generate", ask, index)
    add(graph, "approve", Approve(tools), index)
    add(graph, "call_tools", CallTools(tools, limits.tool_calls if limits else None), index)
    add(graph, "validate", validate(embedder=embedder), index)
    add(graph, "quote", quote(), index)
    add(graph, "respond", respond, index)
    add(graph, "refuse", refuse, index)

    def after_generate(state: AgentState) -> str:
        return "approve" if ask.may_go_on(state) else "validate"

    graph.add_edge(START, "authorize")
    graph.add_edge("authorize", "rewrite")
    graph.add_edge("rewrite", "generate")
    graph.add_conditional_edges("generate", after_generate, ["approve", "validate"])
    graph.add_edge("approve", "call_tools")
    graph.add_edge("call_tools", "generate")
    graph.add_conditional_edges("validate", after_validate, ["respond", "quote", "refuse"])
    graph.add_edge("quote", "respond")
    graph.add_edge("respond", END)
    graph.add_edge("refuse", END)
    return limited(graph.compile(checkpointer=checkpointer, name="agent"), limits)


def after_validate(state: AgentState) -> str:
    """Respond with what is supported, quote where the model's words are not, refuse without evidence."""
    if state["verdict"]["grounded"]:
        return "respond"
    return "quote" if state["evidence"] else "refuse"
