"""Tool calls as models write them: read from an answer's text, and written into the chat that follows."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import ToolCall, ToolCallChunk, tool_call_chunk

from markgraph.models.detokenize import overlap
from markgraph.models.structured import outline

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
_INSTRUCTIONS = """You can call these tools:
{tools}
To call one, answer with nothing but a call, which looks like this:
{call}
Keep the arguments short. When you know the answer, give it in plain words."""
_DECODER = json.JSONDecoder()
_BARE_CALL = re.compile(r'\s*\{\s*"name"')
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True)
class ToolFormat:
    """How a model writes a call: a JSON object with `name` and arguments, and what stands around it."""

    tag: str
    """What begins a call, or a list of calls; empty when an answer that is such an object is a call."""
    gap: str = ""
    """What stands between the tag and the JSON."""
    end: str = ""
    """What ends a call."""
    arguments: str = "arguments"
    """The key of the arguments."""
    listed: bool = False
    """The calls of an answer are one JSON array behind one tag."""
    several: bool = True
    """An answer may hold more than one call."""

    def held_from(self, text: str) -> int:
        """Return where in `text` a call begins, or what comes next may show that one has begun."""
        if not self.tag:
            return 0 if text.lstrip()[:1] in ("", "{") else len(text)
        at = text.find(self.tag)
        return at if at >= 0 else len(text) - overlap(text, self.tag)

    def read(self, text: str) -> Iterator[tuple[str, Any]]:
        """Yield the markup of each call in `text` with its JSON; None for JSON that can't be read."""
        at = text.find(self.tag) if self.tag or _BARE_CALL.match(text) else -1
        while at >= 0:
            value, end = self._decoded(text, at + len(self.tag))
            yield text[at:end], value
            at = text.find(self.tag, end) if self.tag else -1

    def _decoded(self, text: str, begin: int) -> tuple[Any, int]:
        try:
            value, end = _DECODER.raw_decode(text, _behind_space(text, begin))
        except (ValueError, RecursionError):
            closed = text.find(self.end.strip(), begin) if self.end else -1
            return None, closed + len(self.end.strip()) if closed >= 0 else len(text)
        behind = _behind_space(text, end)
        return value, behind + len(self.end.strip()) if text.startswith(self.end.strip(), behind) else end


IN_PROMPT = ToolFormat("<tool_call>", end="</tool_call>")
"""For models whose chat template knows no tools: `described` asks for calls in this format."""


def parse_tool_calls(text: str, tools: list[dict[str, Any]], style: ToolFormat = IN_PROMPT) -> AIMessageChunk:
    """Return a message with the tool calls that `text` asks for, or with the text itself.

    A call that can't be read, or of a tool that isn't there, is among `invalid_tool_calls`.
    """
    known = {tool["function"]["name"] for tool in tools}
    chunks: list[ToolCallChunk] = []
    for markup, value in style.read(text):
        calls = value if style.listed and isinstance(value, list) else [value]
        chunks += [_chunk(call, markup, known, style, len(chunks) + n) for n, call in enumerate(calls)]
    called = any(chunk["name"] for chunk in chunks)
    return AIMessageChunk(content="" if called else text, tool_call_chunks=chunks)


def _chunk(call: Any, markup: str, known: set[str], style: ToolFormat, index: int) -> ToolCallChunk:
    """Return a call; one without a name, with the markup as its arguments, when it is invalid.

    LangChain takes whatever JSON it can mend for a valid call, of a tool named `""`; markup it can't mend.
    """
    name, arguments = None, markup if style.tag else IN_PROMPT.tag + markup
    try:
        if call["name"] in known and isinstance(call[style.arguments], dict):
            name, arguments = call["name"], json.dumps(call[style.arguments])
    except (TypeError, KeyError):
        pass
    return tool_call_chunk(name=name, args=arguments, id=uuid4().hex, index=index)


def to_chat(messages: list[BaseMessage], several: bool = True) -> list[dict[str, Any]]:
    """Return `messages` in the form that chat templates take.

    Unless `several` calls fit one turn, each has a turn of its own, with its result right behind it.
    """
    names = {call["id"]: call["name"] for message in messages for call in _calls(message)}
    results = {result.tool_call_id: result for result in messages if isinstance(result, ToolMessage)}
    chat: list[dict[str, Any]] = []
    placed: set[str | None] = set()
    for message in messages:
        calls = _calls(message)
        if several or len(calls) < 2:
            if not (isinstance(message, ToolMessage) and message.tool_call_id in placed):
                chat.append(_turn(message, calls, names))
            continue
        for call in calls:
            chat.append(_turn(message, [call], names))
            if result := results.get(str(call["id"])):
                chat.append(_turn(result, [], names))
                placed.add(call["id"])
    return chat


def described(chat: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `chat` for a template that knows no tools: they are told of in the system turn."""
    turns = [{"role": _plain_role(turn["role"]), "content": _plain_content(turn)} for turn in chat]
    if not tools:
        return turns
    functions = [tool["function"] for tool in tools]
    listing = "\n".join(json.dumps(function, ensure_ascii=False) for function in functions)
    arguments = outline(functions[0].get("parameters") or {"type": "object"})
    example = {"name": functions[0]["name"], "arguments": arguments}
    return instructed(turns, _INSTRUCTIONS.format(tools=listing, call=_written(example)))


def instructed(chat: list[dict[str, Any]], instructions: str) -> list[dict[str, Any]]:
    """Return `chat` with `instructions` at the end of its system turn."""
    if chat and chat[0]["role"] == "system":
        return [{"role": "system", "content": f"{chat[0]['content']}\n\n{instructions}"}, *chat[1:]]
    return [{"role": "system", "content": instructions}, *chat]


def _turn(message: BaseMessage, calls: list[ToolCall], names: dict[str | None, str]) -> dict[str, Any]:
    kind = message.type.removesuffix("MessageChunk").lower()  # what was streamed may be in the history, too
    turn: dict[str, Any] = {"role": _ROLES.get(kind, "user"), "content": message.text}
    if isinstance(message, ToolMessage):
        name = message.name or names.get(message.tool_call_id, "")
        return turn | {"name": name, "tool_call_id": _short(message.tool_call_id)}
    if calls:
        turn["tool_calls"] = [
            {
                "type": "function",
                "id": _short(call["id"]),
                "function": {"name": call["name"], "arguments": call["args"]},
            }
            for call in calls
        ]
    return turn


def _calls(message: BaseMessage) -> list[ToolCall]:
    return message.tool_calls if isinstance(message, AIMessage) else []


def _short(call_id: str | None) -> str:
    """Return nine letters and digits that stand for `call_id`: Mistral's templates refuse anything else."""
    return sha256(str(call_id).encode()).hexdigest()[:9]


def _plain_role(role: str) -> str:
    return "user" if role == "tool" else role


def _plain_content(turn: dict[str, Any]) -> str:
    if turn["role"] == "tool":
        return f"<tool_response>{turn['content']}</tool_response>"
    content: str = turn["content"]
    return content + "".join(_written(call["function"]) for call in turn.get("tool_calls", ()))


def _written(function: dict[str, Any]) -> str:
    return f"{IN_PROMPT.tag}{json.dumps(function, ensure_ascii=False)}{IN_PROMPT.end}"


def _behind_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
