"""What one call asks of the form of its answer: which tools, whether one must be called, which schema."""

from dataclasses import dataclass
from typing import Any

from markgraph.errors import UsageError
from markgraph.models.chat_template import format_of
from markgraph.models.constrain import call_grammar, json_grammar
from markgraph.models.per_tokenizer import control_tokens
from markgraph.models.structured import response_schema

FORM = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
_MAY = (None, "auto")
_MUST = ("any", "required", True)
_MUST_NOT = ("none", False)


@dataclass(frozen=True)
class CallOptions:
    """The form of one answer."""

    tools: list[dict[str, Any]]
    """What the model is told of, in OpenAI's form."""
    allowed: list[dict[str, Any]]
    """Those that it may call now."""
    forced: bool
    """It has to call one."""
    several: bool
    """It may call more than one."""
    schema: dict[str, Any] | None
    """What an answer that is no call has to be; None for text."""

    def grammar(self, tokenizer: Any) -> str | None:
        """Return the grammar of such answers; None when any text will do."""
        if self.allowed:
            return call_grammar(
                self.allowed,
                format_of(tokenizer),
                control_tokens(tokenizer),
                forced=self.forced,
                several=self.several,
                answer=self.schema,
            )
        return None if self.schema is None else json_grammar(self.schema)


def call_options(
    tools: list[dict[str, Any]] | None = None,
    tool_choice: Any = None,
    parallel_tool_calls: bool | None = None,
    response_format: Any = None,
) -> CallOptions:
    """Return what OpenAI's settings of these names mean.

    Raises:
        UsageError: `tool_choice` names no tool, or `response_format` is in no known form.
    """
    offered = [] if tool_choice in _MUST_NOT else tools or []
    allowed, forced = _chosen(offered, tool_choice)
    # A small model that has to call, and may go on calling, doesn't stop.
    several = parallel_tool_calls if parallel_tool_calls is not None else not forced
    return CallOptions(offered, allowed, forced, several, response_schema(response_format))


def _chosen(tools: list[dict[str, Any]], choice: Any) -> tuple[list[dict[str, Any]], bool]:
    """Return which of `tools` may be called, and whether one must be."""
    if choice in _MAY or choice in _MUST_NOT:
        return tools, False
    if choice in _MUST and tools:
        return tools, True
    name = choice["function"]["name"] if isinstance(choice, dict) and "function" in choice else choice
    if named := [tool for tool in tools if tool["function"]["name"] == name]:
        return named, True
    names = [tool["function"]["name"] for tool in tools]
    raise UsageError(
        f"tool_choice is {choice!r}. Allowed with the tools of this call: auto, none"
        f"{''.join(f', {name}' for name in ('any', *names)) if names else ''}."
    )
