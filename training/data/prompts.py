"""Makes the prompt of the graph `qa`, so that what is trained is what is served."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from markgraph.build import compose, make
from markgraph.models.fake import FakeChatModel
from markgraph.nodes.authorize import fresh_turn
from markgraph.nodes.generate import Generate
from markgraph.nodes.retrieve import to_passage
from markgraph.retrieval.types import Chunk, Hit
from markgraph.state import Passage
from markgraph.training.rows import Message

_ROLES = {SystemMessage: "system", HumanMessage: "user", AIMessage: "assistant"}


@dataclass(frozen=True)
class Prompts:
    """Asks as the node `generate` of the graph `qa` does, with the instructions that its config has."""

    serving: Sequence[str] = ()
    """Overrides that the graph is served with: `["graph.generate.instructions=..."]`."""

    def __call__(self, question: str, chunks: Sequence[Chunk]) -> list[Message]:
        """Return the messages that ask `question` about these passages."""
        turn: Any = fresh_turn() | {
            "question": question,
            "standalone": question,
            "passages": passages_of(chunks),
        }
        return [as_message(message) for message in self._generate.prompt(turn)]

    @cached_property
    def _generate(self) -> Generate:
        config = compose("embed", ["graph=qa", *self.serving])
        node: Generate = make(config.graph, "generate")(model=FakeChatModel())  # nobody asks it
        return node


def passages_of(chunks: Sequence[Chunk]) -> list[Passage]:
    """Return chunks as the graph's state has them."""
    return [to_passage(Hit(chunk, 0.0)) for chunk in chunks]


def as_message(message: AnyMessage) -> Message:
    """Return a message as rows have it."""
    return Message(role=_ROLES[type(message)], content=message.text)  # type: ignore[typeddict-item]
