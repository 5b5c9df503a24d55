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

from markgraph.audit.types import Audit
from markgraph.graphs.wiring import Wiring
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
from markgraph.security.guard import Guard
from markgraph.security.limits import Limits
from markgraph.security.policy import Policy
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
    approve: Callable[..., Approve] | None = Approve,
    validate: Callable[..., Validate] = Validate,
    quote: Callable[..., Quote] = Quote,
    policy: Policy,
    audit: Audit | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    limits: Limits | None = None,
) -> AgentGraph:
    """Return the compiled graph. Without a checkpointer a run that needs approval cannot be resumed.

    `approve` may be None, which suits tools that neither change anything nor send data out: any others are
    then refused by `markgraph verify` and by everything that serves or asks a graph.
    """
    ask = generate(model=model, tools=tools, policy=policy)
    graph = StateGraph(AgentState, Caller, input_schema=Question, output_schema=Answer)
    wiring = Wiring(graph, "agent", Guard(policy, audit))
    wiring.add("authorize", authorize(graph="agent", policy=policy, begin=fresh_agent_turn))
    wiring.add("rewrite", rewrite)
    wiring.add("generate", ask, index)
    if approve:
        wiring.add("approve", approve(tools=tools), index)
    wiring.add("call_tools", CallTools(tools, limits.tool_calls if limits else None), index)
    wiring.add("validate", validate(embedder=embedder), index)
    wiring.add("quote", quote(), index)
    wiring.add("respond", respond, index, ends=True)
    wiring.add("refuse", refuse, index, ends=True)
    connect(graph, ask.may_go_on)
    return limited(graph.compile(checkpointer=checkpointer, name="agent"), limits)


def connect(
    graph: StateGraph[AgentState, Caller, Question, Answer], may_go_on: Callable[[AgentState], bool]
) -> None:
    """Draw the edges; `may_go_on` tells whether the model's tools run."""
    use_tools = "approve" if "approve" in graph.nodes else "call_tools"

    def after_generate(state: AgentState) -> str:
        return use_tools if may_go_on(state) else "validate"

    graph.add_edge(START, "authorize")
    graph.add_edge("authorize", "rewrite")
    graph.add_edge("rewrite", "generate")
    graph.add_conditional_edges("generate", after_generate, [use_tools, "validate"])
    if "approve" in graph.nodes:
        graph.add_edge("approve", "call_tools")
    graph.add_edge("call_tools", "generate")
    graph.add_conditional_edges("validate", after_validate, ["respond", "quote", "refuse"])
    graph.add_edge("quote", "respond")
    graph.add_edge("respond", END)
    graph.add_edge("refuse", END)


def after_validate(state: AgentState) -> str:
    """Respond with what is supported, quote where the model's words are not, refuse without evidence."""
    if state["verdict"]["grounded"]:
        return "respond"
    return "quote" if state["evidence"] else "refuse"
