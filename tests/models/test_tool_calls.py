"""Tool calls are read from text; what is no call stays text. First the functions, then the model."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from markgraph.models.chat import LocalChatModel
from markgraph.models.tool_calls import described, parse_tool_calls, to_chat
from tests.models.test_chat import TOKENIZER, Scripted, joined

SEARCH = {"type": "function", "function": {"name": "search", "description": "Suche: 日本", "parameters": {}}}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "Tells the time.", "parameters": {}},
}
TOOLS: list[dict[str, Any]] = [SEARCH, CLOCK]


def call(arguments: str, name: str = "search") -> str:
    return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (call('{"q": "notice"}'), [("search", {"q": "notice"})]),
        (call("{}", "clock"), [("clock", {})]),
        ("I look it up.\n" + call('{"q": "日本"}') + "\nDone.", [("search", {"q": "日本"})]),
        (call('{"q": "a"}') + "\n" + call("{}", "clock"), [("search", {"q": "a"}), ("clock", {})]),
        (call('{"q": "a"}').removesuffix("</tool_call>"), [("search", {"q": "a"})]),
        (f"<tool_call>\n{call('{}')[11:-12]}\n</tool_call>", [("search", {})]),
    ],
    ids=["one", "no arguments", "among text", "several", "unclosed", "on lines of its own"],
)
def test_reads_calls(text: str, expected: list[tuple[str, dict[str, Any]]]) -> None:
    message = parse_tool_calls(text, TOOLS)
    assert [(one["name"], one["args"]) for one in message.tool_calls] == expected
    assert message.content == ""
    assert message.invalid_tool_calls == []
    assert len({one["id"] for one in message.tool_calls}) == len(expected)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "search", "arguments": {"q": ',
        "<tool_call>search(q)</tool_call>",
        "<tool_call></tool_call>",
        '<tool_call>["search", {}]</tool_call>',
        '<tool_call>{"name": ["search"], "arguments": {}}</tool_call>',
        '<tool_call>{"name": "search"}</tool_call>',
        '<tool_call>{"name": "search", "arguments": "q"}</tool_call>',
        f"<tool_call>{'[' * 2000}</tool_call>",
        call("{}", "rm"),
        call('{"q": "x"}', ""),
    ],
)
def test_what_is_no_known_call_is_invalid_and_stays_text(text: str) -> None:
    message = parse_tool_calls(text, TOOLS)
    assert message.tool_calls == []
    assert [one["args"] for one in message.invalid_tool_calls] == [text]
    assert message.content == text


@pytest.mark.parametrize(
    "text", ["The notice is due in 72 hours.", "", '{"name": "search", "arguments": {}}']
)
def test_text_without_a_call_is_text(text: str) -> None:
    message = parse_tool_calls(text, TOOLS)
    assert (message.content, message.tool_calls, message.invalid_tool_calls) == (text, [], [])


def test_a_valid_call_survives_an_invalid_one() -> None:
    message = parse_tool_calls(call("{}", "rm") + call('{"q": "a"}'), TOOLS)
    assert [one["name"] for one in message.tool_calls] == ["search"]
    assert len(message.invalid_tool_calls) == 1


def test_a_chat_without_tools_is_roles_and_texts() -> None:
    messages: list[BaseMessage] = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "Who"}, {"type": "text", "text": " pays?"}]),
        AIMessage("The buyer."),
    ]
    chat = to_chat(messages)
    assert described(chat, []) == chat
    assert chat == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who pays?"},
        {"role": "assistant", "content": "The buyer."},
    ]


def test_tools_are_described_once_in_the_system_turn() -> None:
    for messages in ([HumanMessage("hi")], [SystemMessage("Be brief."), HumanMessage("hi")]):
        system, user = described(to_chat(messages), TOOLS)
        assert system["role"] == "system"
        assert system["content"].count("Suche: 日本") == system["content"].count("Tells the time.") == 1
        assert call("{}") in system["content"]
        assert user == {"role": "user", "content": "hi"}
    assert system["content"].startswith("Be brief.")


def test_a_call_is_written_as_it_is_read_and_its_result_follows() -> None:
    written = call('{"q": "日本"}')
    read = parse_tool_calls(written, TOOLS)
    messages = [HumanMessage("?"), read, ToolMessage("72 hours", tool_call_id=str(read.tool_calls[0]["id"]))]
    assert described(to_chat(messages), [])[1:] == [
        {"role": "assistant", "content": written},
        {"role": "user", "content": "<tool_response>72 hours</tool_response>"},
    ]


@tool
def search(q: str) -> str:
    """Search the documents."""
    return q


CALL = '<tool_call>{"name": "search", "arguments": {"q": "日本"}}</tool_call>'


def test_calls_a_tool_that_it_was_told_of() -> None:
    engine = Scripted(CALL)
    model = LocalChatModel(engine=engine).bind_tools([search])
    reply = model.invoke("Where?")
    assert [(call["name"], call["args"]) for call in reply.tool_calls] == [("search", {"q": "日本"})]
    assert reply.content == ""
    assert "Search the documents." in TOKENIZER.decode(engine.prompts[0])
    chunks = list(model.stream("Where?"))
    assert [call["args"] for chunk in chunks for call in chunk.tool_calls] == [{"q": "日本"}]


@pytest.mark.parametrize("answer", [CALL.replace("search", "rm"), "<tool_call>{search</tool_call>"])
def test_a_call_that_cannot_be_made_is_no_call(answer: str) -> None:
    for reply in (
        LocalChatModel(engine=Scripted(answer)).bind_tools([search]).invoke("?"),
        joined(LocalChatModel(engine=Scripted(answer)), "?", tools=[{"function": {"name": "search"}}])[1],
    ):
        assert reply.tool_calls == []
        assert [call["args"] for call in reply.invalid_tool_calls] == [answer]
        assert reply.text == answer


def test_the_result_of_a_tool_goes_back_to_the_model() -> None:
    engine = Scripted(CALL)
    model = LocalChatModel(engine=engine).bind_tools([search])
    asked = model.invoke("Where?")
    history: list[BaseMessage] = [
        HumanMessage("Where?"),
        asked,
        ToolMessage("72 hours", tool_call_id=str(asked.tool_calls[0]["id"])),
    ]
    model.invoke(history)
    prompt = TOKENIZER.decode(engine.prompts[-1])
    assert f"<|im_start|>assistant\n{CALL}<|im_end|>" in prompt
    assert "<|im_start|>user\n<tool_response>72 hours</tool_response><|im_end|>" in prompt
