"""Asks the model for an answer or for a tool."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langgraph.runtime import Runtime

from markgraph.engines.port import cache_scope
from markgraph.errors import ConfigError
from markgraph.nodes.generate import add_usage, configured_name, model_name
from markgraph.security.caller import Caller, cache_scope_of, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Policy, Resource, calling
from markgraph.state import AgentState

INSTRUCTIONS = (
    "Answer the question. Look things up with the tools before you answer, and use nothing "
    "but what they return. Answer in one or two sentences, with words from what you found."
)


@does(Effect.GENERATES)
@dataclass(frozen=True)
class GenerateWithTools:
    """Lets the model choose between its tools and an answer, as long as it has steps left.

    What an engine keeps of the prompt is kept for this caller only.
    """

    model: BaseChatModel
    tools: Sequence[BaseTool]
    policy: Policy
    """Says which of the tools a caller may use; the model is shown no others."""
    instructions: str = INSTRUCTIONS
    max_steps: int = 6
    """The model is asked at most so often in a turn."""

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ConfigError(f"GenerateWithTools.max_steps is {self.max_steps}; allowed: 1 or more.")

    def needs(self, state: AgentState) -> list[Need]:  # noqa: ARG002
        """Return the permission to use the model."""
        return [Need("models:use", Resource("model", configured_name(self.model)))]

    def __call__(self, state: AgentState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the model's message, and its text as the draft.

        Raises:
            DeniedError: nobody is asking.
        """
        asked, caller = self._asked(state), caller_of(runtime)
        with cache_scope(cache_scope_of(caller)):
            reply = self._model(caller).invoke(self._prompt(state, asked))
        return self._update(state, asked, reply)

    async def acall(self, state: AgentState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Do the same without holding a thread."""
        asked, caller = self._asked(state), caller_of(runtime)
        with cache_scope(cache_scope_of(caller)):
            reply = await self._model(caller).ainvoke(self._prompt(state, asked))
        return self._update(state, asked, reply)

    def may_go_on(self, state: AgentState) -> bool:
        """Tell whether the model asked for tools and has a step left to use what they return."""
        message = state["messages"][-1]
        return (
            isinstance(message, AIMessage) and bool(message.tool_calls) and state["attempts"] < self.max_steps
        )

    def _model(self, caller: Caller) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with the tools that `caller` may use."""
        allowed = [tool for tool in self.tools if self.policy.check(caller, *calling(tool.name)).allowed]
        return self.model.bind_tools(allowed) if allowed else self.model

    def _asked(self, state: AgentState) -> list[AnyMessage]:
        """Return the question as a message, unless this turn has put it already."""
        return [] if state["attempts"] else [HumanMessage(state["standalone"])]

    def _prompt(self, state: AgentState, asked: list[AnyMessage]) -> list[AnyMessage]:
        return [SystemMessage(self.instructions), *(state.get("messages") or []), *asked]

    def _update(self, state: AgentState, asked: list[AnyMessage], reply: AIMessage) -> dict[str, Any]:
        return {
            "messages": [*asked, reply],
            "draft": reply.text,
            "attempts": state["attempts"] + 1,
            "model": model_name(self.model, reply),
            "usage": add_usage(state["usage"], reply),
        }
