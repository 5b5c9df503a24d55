"""Turns rows into tokens: a prompt is what serving would send, and an answer ends where serving stops.

Does NOT include: cutting. A row that is too long is an error here; preparing the data leaves such rows out.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from markgraph.errors import ConfigError, UsageError
from markgraph.models.chat_template import encode
from markgraph.training.base import Base
from markgraph.training.rows import Message, Row

IGNORED = -100
"""The label of a token that is not learned, as torch's cross entropy has it."""
_ROLES: dict[str, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
_PROBE = "probe"
_TEXTS = ("completion", "chosen", "rejected", "text", "query", "positive", "premise", "hypothesis")
"""Columns of text, beside the prompt's messages."""


class Tokens(NamedTuple):
    """A prompt and its answer, as ids."""

    prompt: list[int]
    completion: list[int]
    """The answer, with the token that ends the turn."""

    @property
    def ids(self) -> list[int]:
        """Both, one behind the other."""
        return self.prompt + self.completion

    @property
    def labels(self) -> list[int]:
        """What is learned: the completion."""
        return [IGNORED] * len(self.prompt) + self.completion


def prompt_ids(base: Base, messages: Sequence[Message]) -> list[int]:
    """Return the prompt of these messages: the ids that serving makes of them."""
    turns = [_ROLES[each["role"]](each["content"]) for each in messages]
    return encode(base.tokenizer, turns, [], None, base.template_values)


def tokens_of(base: Base, row: Row) -> int:
    """Return how many tokens a row has: its prompt as it is served, and each of its texts."""
    texts = [str(row[key]) for key in _TEXTS if key in row]  # type: ignore[literal-required]
    texts += row.get("negatives", [])
    found = sum(len(base.tokenizer(text, add_special_tokens=False).input_ids) for text in texts)
    return found + (len(prompt_ids(base, row["messages"])) if "messages" in row else 0)


def completion_ids(base: Base, text: str) -> list[int]:
    """Return what the model has to say for `text`, the end of its turn included.

    A control token within `text` is spelled out: it ends nothing.
    """
    ids: list[int] = base.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    return [*ids, end_of_turn(base)]


def tokens(base: Base, row: Row, text: str, limit: int | None = None) -> Tokens:
    """Return a row's prompt with `text` as its answer.

    Raises:
        UsageError: they have more tokens than `limit`, or than the model takes.
    """
    made = Tokens(prompt_ids(base, row["messages"]), completion_ids(base, text))
    bounds = [bound for bound in (limit, base.window) if bound is not None]
    if bounds and len(made.ids) > min(bounds):
        raise UsageError(
            f"Row {row['id'][:12]} from {row['source']} has {len(made.ids)} tokens. Allowed: {min(bounds)}, "
            "the least of method.max_tokens and the model's window. Raise method.max_tokens, or leave it out."
        )
    return made


def end_of_turn(base: Base) -> int:
    """Return the token that the chat template puts behind an answer, or else the end of text.

    Raises:
        ConfigError: there is neither, so that an answer would never end.
    """
    tokenizer: Any = base.tokenizer
    chat = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}]
    told: str = tokenizer.apply_chat_template(chat, tokenize=False, **base.template_values)
    behind: list[int] = tokenizer(told.rpartition(_PROBE)[2], add_special_tokens=False).input_ids
    if ends := [id_ for id_ in behind if id_ in base.ends]:
        return ends[0]
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"Nothing ends an answer of {base.name}. Allowed: a tokenizer with eos_token, or a chat template "
            "that puts one of the model's own end tokens behind an answer."
        )
    return int(tokenizer.eos_token_id)
