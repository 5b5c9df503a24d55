"""Messages to the prompt that a model was trained on, and what its chat template teaches of tool calls."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from markgraph.errors import UsageError
from markgraph.models.per_tokenizer import control_tokens, once_per_tokenizer
from markgraph.models.structured import brief, outline
from markgraph.models.tool_calls import IN_PROMPT, ToolFormat, described, instructed, to_chat

_ANSWER = """Answer in JSON of this schema:
{schema}
It looks like this:
{outline}
Keep the values short."""
"""Found by trying: with it a model of 135 million parameters finishes what it begins."""
_NAME, _KEY, _VALUE = "probe_tool", "probe_key", "probe_value"
_PROPERTY = {"type": "string", "description": "A value."}
_SCHEMA = {"type": "object", "properties": {_KEY: _PROPERTY}, "required": [_KEY]}
_TOOL = {"type": "function", "function": {"name": _NAME, "description": "Probes.", "parameters": _SCHEMA}}
_ASK = {"role": "user", "content": "?"}
_TAG = re.compile(r"(<[^<>\s]+>|\[[A-Z_]+\])(\s*)$")


class TurnsError(UsageError):
    """A chat template refuses the roles of messages, or their order."""


def encode(
    tokenizer: Any,
    messages: list[BaseMessage],
    tools: list[dict[str, Any]],
    schema: dict[str, Any] | None,
    values: Mapping[str, Any],
) -> list[int]:
    """Return the prompt that asks for an answer to `messages`; `values` are handed to the chat template.

    With a `schema` the system turn asks for JSON of it. Control tokens in what people, documents and tools
    wrote are broken up: they control nothing.

    Raises:
        UsageError: there is no chat template, or it refuses these messages.
    """
    taught = tool_format(tokenizer)
    controls = control_tokens(tokenizer)
    chat = to_chat(messages, several=taught is None or taught.several)
    if schema is not None:
        shown = [json.dumps(one, ensure_ascii=False) for one in (brief(schema), outline(schema))]
        chat = instructed(chat, _ANSWER.format(schema=shown[0], outline=shown[1]))
    chat, listed = _defused(chat, controls), _defused(tools, controls)
    if taught is None:
        chat, listed = described(chat, listed), []
    prompt = _rendered(tokenizer, chat, listed, add_generation_prompt=True, **values)
    ids: list[int] = tokenizer(prompt, add_special_tokens=False).input_ids
    return ids


@once_per_tokenizer
def tool_format(tokenizer: Any) -> ToolFormat | None:
    """Return how the chat template writes tool calls; None when it knows no tools, or writes none as JSON.

    The template itself is asked: it renders a chat with a tool and a call that occur nowhere else.
    """
    try:
        prompt = _rendered(tokenizer, [_ASK], [_TOOL], add_generation_prompt=True)
        if _NAME not in prompt:
            return None
        told = _rendered(tokenizer, [_ASK, _called("a")], [_TOOL])
    except UsageError:
        return None
    return _found(prompt, told, _takes_several(tokenizer))


def format_of(tokenizer: Any) -> ToolFormat:
    """Return the format of tool calls that a prompt of `encode` asks for."""
    return tool_format(tokenizer) or IN_PROMPT


def _found(prompt: str, told: str, several: bool) -> ToolFormat | None:
    if (span := _call_span(told)) is None:
        return None
    begin, end, key = span
    before, after = told[:begin], told[end:].lstrip()
    if listed := before.rstrip().endswith("[") and after.startswith("]"):
        before, after = before.rstrip()[:-1], after[1:].lstrip()
    match = _TAG.search(before)
    if match is None or prompt.rstrip().endswith(match[1]):  # the JSON follows the header of the turn
        return ToolFormat("", arguments=key, listed=listed, several=several)
    tag, gap = match.groups()
    closing = re.sub(r"^([<\[]\|?)", r"\1/", tag)
    close = closing if after.startswith(closing) else ""
    ending = (gap if not listed else "") + close if close else ""
    return ToolFormat(tag, gap, ending, key, listed, several)


def _call_span(told: str) -> tuple[int, int, str] | None:
    """Return where the JSON of the probing call begins and ends, and the key of its arguments."""
    begin = told.rfind(_VALUE)
    while (begin := told.rfind("{", 0, max(begin, 0))) >= 0:
        try:
            call, end = json.JSONDecoder().raw_decode(told, begin)
        except ValueError:
            continue
        keys = [key for key, value in call.items() if value == {_KEY: _VALUE}]
        if call.get("name") == _NAME and keys:
            return begin, end, keys[0]
    return None


def _called(*ids: str) -> dict[str, Any]:
    function = {"name": _NAME, "arguments": {_KEY: _VALUE}}
    calls = [{"type": "function", "id": id_ * 9, "function": function} for id_ in ids]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _takes_several(tokenizer: Any) -> bool:
    try:
        _rendered(tokenizer, [_ASK, _called("a", "b")], [_TOOL])
    except UsageError:
        return False
    return True


def _rendered(tokenizer: Any, chat: list[dict[str, Any]], tools: list[dict[str, Any]], **values: Any) -> str:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise UsageError("This model's tokenizer has no chat template. Use a model that was trained to chat.")
    try:
        text: str = tokenizer.apply_chat_template(chat, tools=tools or None, tokenize=False, **values)
    # A template in Jinja adds and subscripts what it is given, whatever that is.
    except (TemplateError, TypeError) as error:
        raise TurnsError(f"The model's chat template does not take these messages: {error}.") from error
    return text


def _defused(value: Any, controls: Collection[str]) -> Any:
    """Break the control tokens in all strings of `value`; taking them out could join two halves."""
    if isinstance(value, str):
        for control in controls:
            value = value.replace(control, f"{control[0]} {control[1:]}")
        return value
    if isinstance(value, dict):
        return {_defused(key, controls): _defused(item, controls) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defused(item, controls) for item in value]
    return value
