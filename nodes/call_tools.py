"""Runs the tools that the model asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_core.messages import AnyMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.prebuilt import ToolNode

from markgraph.errors import MarkError, SandboxError
from markgraph.nodes.approve import has_side_effects
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Resource, calling
from markgraph.state import AgentState, Passage

DECLINED = "Declined: a person did not allow this call."
TOO_MANY = "Not run: {} calls are the most in one turn. Answer with what you have."


@does(Effect.RUNS_TOOLS)
@dataclass(frozen=True)
class CallTools:
    """Runs each tool call of the last message, and keeps what came back as passages to answer from.

    A tool that fails tells the model why. A call that somebody declined is not run, nor one beyond
    `max_calls`.
    """

    tools: Sequence[BaseTool]
    max_calls: int | None = None
    """How many tools may be called in a turn."""

    def needs(self, state: AgentState) -> list[Need]:
        """Return the permission to call each tool that is to run, and to read where one does."""
        (message,) = self._sorted(state)[0]["messages"]
        names = sorted({call["name"] for call in message.tool_calls})
        reading = [tool for tool in self.tools if tool.name in names and reads_documents(tool)]
        documents = [Need("documents:read", Resource("tool", tool.name)) for tool in reading]
        return [*map(calling, names), *documents]

    def __call__(self, state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        """Return the tools' messages, and the passages with theirs added."""
        calls, refusals = self._sorted(state)
        return self._update(state, self._node.invoke(calls, config)["messages"], refusals)

    async def acall(self, state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        """Do the same without holding a thread."""
        calls, refusals = self._sorted(state)
        ran = await self._node.ainvoke(calls, config)
        return self._update(state, ran["messages"], refusals)

    @cached_property
    def _node(self) -> ToolNode:
        return ToolNode(list(self.tools), handle_tool_errors=_explain)

    def _sorted(self, state: AgentState) -> tuple[dict[str, Any], list[ToolMessage]]:
        """Return the pending calls that are run, and what the model is told of the others."""
        message = state["messages"][-1]
        declined = set(state["declined"])
        calls = [call for call in message.tool_calls if call["id"] not in declined]  # type: ignore[union-attr]
        called = sum(isinstance(earlier, ToolMessage) for earlier in state["messages"])
        room = len(calls) if self.max_calls is None else max(0, self.max_calls - called)
        refusals = [(DECLINED, id_) for id_ in state["declined"]]
        refusals += [(TOO_MANY.format(self.max_calls), str(call["id"])) for call in calls[room:]]
        return (
            {"messages": [message.model_copy(update={"tool_calls": calls[:room]})]},
            [ToolMessage(why, tool_call_id=id_, status="error") for why, id_ in refusals],
        )

    def _update(
        self, state: AgentState, ran: list[AnyMessage], refusals: list[ToolMessage]
    ) -> dict[str, Any]:
        found = [
            passage
            for message in ran
            if isinstance(message, ToolMessage) and message.status != "error"
            for passage in passages_of(message)
        ]
        known = {(passage["source"], passage["start"]) for passage in state["passages"]}
        fresh = [passage for passage in found if (passage["source"], passage["start"]) not in known]
        return {
            "messages": [*ran, *refusals],
            "passages": [*state["passages"], *fresh],
            "declined": [],
            "done": [*state["done"], *self._changes(ran)],
        }

    def _changes(self, ran: list[AnyMessage]) -> list[str]:
        """Return what the tools with side effects say they did."""
        changing = {tool.name for tool in self.tools if has_side_effects(tool)}
        return [
            f"{message.name}: {message.text}"
            for message in ran
            if isinstance(message, ToolMessage) and message.name in changing and message.status != "error"
        ]


def reads_documents(tool: BaseTool) -> bool:
    """Tell whether `tool` looks into the documents; one that does not say so is taken to."""
    return bool((tool.metadata or {}).get("reads_private", True))


def passages_of(message: ToolMessage) -> list[Passage]:
    """Return what a tool found: the passages in its artifact, else its text as a passage of its own."""
    if isinstance(message.artifact, list):
        return message.artifact
    text = message.text
    return [
        Passage(
            ids=[],
            text=text,
            source=f"tool:{message.name}:{message.tool_call_id}",
            title=f"Tool {message.name}",
            heading=[],
            page=None,
            page_breaks=[],
            start=0,
            end=len(text),
            score=1.0,
            metadata={},
        )
    ]


def _explain(error: Exception) -> str:
    # A denial or a full disk is not the model's to explain away; a sandbox's refusal may teach it to ask.
    if isinstance(error, MarkError) and not isinstance(error, SandboxError):
        raise error
    return f"The tool failed: {error}"
