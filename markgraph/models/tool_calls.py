"""Tool calls for models whose chat template knows no tools: asked for in the prompt, read from the text."""

import json
import re
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)
_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "user"}
_INSTRUCTIONS = """You can call these tools:
{tools}
To call one, answer with nothing but
<tool_call>{{"name": "...", "arguments": {{...}}}}</tool_call>
When you know the answer, give it in plain words."""


def to_chat(messages: list[BaseMessage], tools: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return `messages` as role and content, with `tools` described in the system turn."""
    turns = [{"role": _role(message), "content": _content(message)} for message in messages]
    if not tools:
        return turns
    listing = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    instructions = _INSTRUCTIONS.format(tools=listing)
    if turns and turns[0]["role"] == "system":
        return [{"role": "system", "content": f"{turns[0]['content']}\n\n{instructions}"}, *turns[1:]]
    return [{"role": "system", "content": instructions}, *turns]


def parse_tool_calls(text: str, tools: list[dict[str, Any]]) -> AIMessageChunk:
    """Return a message with the tool calls that `text` asks for, or with the text itself.

    A call that can't be read, or of a tool that isn't there, is among `invalid_tool_calls`.
    """
    known = {tool["function"]["name"] for tool in tools}
    chunks = [_read_call(match, known, index) for index, match in enumerate(_CALL.finditer(text))]
    called = any(chunk["name"] for chunk in chunks)
    return AIMessageChunk(content="" if called else text, tool_call_chunks=chunks)


def _read_call(match: re.Match[str], known: set[str], index: int) -> ToolCallChunk:
    """Return a call; one without a name, with the markup as its arguments, when it is invalid.

    LangChain takes whatever JSON it can mend for a valid call, of a tool named `""`; markup it can't mend.
    """
    name, arguments = None, match.group()
    try:
        call = json.loads(match.group(1))
        if call["name"] in known and isinstance(call["arguments"], dict):
            name, arguments = call["name"], json.dumps(call["arguments"])
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return tool_call_chunk(name=name, args=arguments, id=uuid4().hex, index=index)


def _role(message: BaseMessage) -> str:
    kind = message.type.removesuffix("MessageChunk").lower()  # what was streamed may be in the history, too
    return _ROLES.get(kind, "user")


def _content(message: BaseMessage) -> str:
    if isinstance(message, ToolMessage):
        return f"<tool_response>{message.text}</tool_response>"
    if isinstance(message, AIMessage) and message.tool_calls:
        calls = ({"name": call["name"], "arguments": call["args"]} for call in message.tool_calls)
        return message.text + "".join(
            f"<tool_call>{json.dumps(call, ensure_ascii=False)}</tool_call>" for call in calls
        )
    return message.text
