"""Asks the model for an answer from the passages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from markgraph.engines.port import cache_scope
from markgraph.nodes.respond import place_of
from markgraph.nodes.route import Domain
from markgraph.security.caller import Caller, cache_scope_of, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, Resource
from markgraph.state import GENERAL, Message, QAState, Usage

INSTRUCTIONS = (
    "Answer the question in one or two sentences, with words from the numbered passages. "
    "Put the number of the passage behind each sentence, like [1]. Use nothing but the passages."
)
EARLIER = "Earlier in this conversation:"
RETRY_EVIDENCE = 3
"""A second attempt sees only so many sentences, the likeliest ones."""


@does(Effect.GENERATES)
@dataclass(frozen=True)
class Generate:
    """Writes a draft; a second attempt sees only the sentences that are likeliest to hold the answer.

    What an engine keeps of the prompt is kept for this caller only.
    """

    model: BaseChatModel
    domains: Mapping[str, Domain] = field(default_factory=dict)
    instructions: str = INSTRUCTIONS

    def needs(self, state: QAState) -> list[Need]:  # noqa: ARG002
        """Return the permission to use the model."""
        return [Need("models:use", Resource("model", configured_name(self.model)))]

    def __call__(self, state: QAState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the draft, and the tokens spent in this turn so far.

        Raises:
            DeniedError: nobody is asking.
        """
        prompt = self.prompt(state)
        with cache_scope(cache_scope_of(caller_of(runtime))):
            reply = self.model.invoke(prompt)
        return self._update(state, prompt, reply)

    async def acall(self, state: QAState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Do the same without holding a thread."""
        prompt = self.prompt(state)
        with cache_scope(cache_scope_of(caller_of(runtime))):
            reply = await self.model.ainvoke(prompt)
        return self._update(state, prompt, reply)

    def prompt(self, state: QAState) -> list[AnyMessage]:
        """Return the messages that the model is asked with."""
        domain = self.domains.get(state.get("domain", GENERAL))
        instructions = f"{self.instructions} {domain.instructions if domain else ''}".strip()
        turns = [
            message
            for turn in state.get("recent") or []
            for message in (HumanMessage(turn["question"]), AIMessage(turn["answer"]))
        ]
        earlier = f"{EARLIER}\n{state['summary']}\n\n" if state.get("summary") else ""
        question = f"{earlier}{_sources(state)}\n\nQuestion: {state['standalone']}"
        return [SystemMessage(instructions), *turns, HumanMessage(question)]

    def _update(self, state: QAState, prompt: list[AnyMessage], reply: BaseMessage) -> dict[str, Any]:
        return {
            "prompt": [_plain(message) for message in prompt],
            "draft": reply.text,
            "attempts": state["attempts"] + 1,
            "model": model_name(self.model, reply),
            "usage": add_usage(state["usage"], reply),
        }


def _plain(message: AnyMessage) -> Message:
    if isinstance(message, SystemMessage):
        return Message(role="system", content=message.text)
    return Message(role="assistant" if isinstance(message, AIMessage) else "user", content=message.text)


def configured_name(model: BaseChatModel) -> str:
    """Return what the config calls a model, or else what its class is called."""
    fields = model.model_dump(include={"model_name", "model"})
    return str(fields.get("model_name") or fields.get("model") or type(model).__name__)


def model_name(model: BaseChatModel, reply: BaseMessage) -> str:
    """Return what the model calls itself, or else what its class is called."""
    return str(reply.response_metadata.get("model_name") or type(model).__name__)


def add_usage(spent: Usage, reply: BaseMessage) -> Usage:
    """Return the tokens spent, those of `reply` included."""
    usage = reply.usage_metadata if isinstance(reply, AIMessage) else None
    if usage is None:
        return spent
    return Usage(
        input_tokens=spent["input_tokens"] + usage["input_tokens"],
        output_tokens=spent["output_tokens"] + usage["output_tokens"],
        total_tokens=spent["total_tokens"] + usage["total_tokens"],
    )


def _sources(state: QAState) -> str:
    if state["attempts"]:
        likely = state["evidence"][:RETRY_EVIDENCE]
        return "\n".join(f"[{support['passage'] + 1}] {support['quote']}" for support in likely)
    texts = state.get("excerpts") or [passage["text"] for passage in state["passages"]]
    titled = zip(state["passages"], texts, strict=True)
    return "\n\n".join(
        f"[{mark}] {place_of(passage)}\n{text}" for mark, (passage, text) in enumerate(titled, 1) if text
    )
