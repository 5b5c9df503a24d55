"""The scripted model passes LangChain's suites, and keeps to its script."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import ValidationError

from markgraph.models.fake import FakeChatModel

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    return {"tool": name, "args": arguments}


JOKE = {"setup": "Why do cats sit on contracts?", "punchline": "They like small print."}
SCRIPTS: dict[str, list[Any]] = {
    "test_tool_calling": [tool("magic_function", input=3)],
    "test_tool_calling_async": [tool("magic_function", input=3)],
    "test_bind_runnables_as_tools": [tool("greeting_generator", answer_style="Pirate")],
    "test_tool_choice": [tool("magic_function", input=1)],
    "test_tool_calling_with_no_arguments": [tool("magic_function_no_args")],
    "test_structured_output_pydantic_2_v1": [tool("Joke", **JOKE)],
    "test_structured_output_optional_param": [tool("Joke", **JOKE)] * 3 + [tool("JokeDict", **JOKE)],
    "test_agent_loop": [tool("get_weather", location="San Francisco"), "It's sunny."],
    "test_unicode_tool_call_integration": [
        tool("unicode_customer", customer_name="你好啊集团", description="A technology company"),
        tool("unicode_customer", customer_name="こんにちは株式会社", description="A company"),
    ],
}


def script_of(request: pytest.FixtureRequest) -> list[Any]:
    """Return what the model must say for a test of the suite to make sense."""
    name = request.node.originalname
    if name.removesuffix("_async") == "test_structured_output":
        schema = request.node.callspec.params["schema_type"]
        return [tool("JokeDict" if schema == "typeddict" else "Joke", **JOKE)]
    return SCRIPTS.get(name, ["Hello, and thank you."])


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return FakeChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "scripted"}


class TestIntegration(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return FakeChatModel

    @property
    def supports_model_override(self) -> bool:
        return False

    @pytest.fixture
    def model(self, request: pytest.FixtureRequest) -> BaseChatModel:
        return FakeChatModel(responses=script_of(request), **getattr(request, "param", {}))


def test_says_its_responses_in_turn_and_repeats_the_last() -> None:
    model = FakeChatModel(responses=["one", "two"])
    assert [model.invoke("?").text for _ in range(4)] == ["one", "two", "two", "two"]


def test_streams_words_that_join_to_the_response() -> None:
    text = " The  deadline\n is 72 hours. "
    pieces = [chunk.text for chunk in FakeChatModel(responses=[text]).stream("?")]
    assert "".join(pieces) == text
    assert len(pieces) > 4


@pytest.mark.parametrize(
    ("stop", "expected"),
    [(["72"], "due in "), (["hours", "in"], "due "), ([""], "due in 72 hours"), ([], "due in 72 hours")],
)
def test_ends_before_a_stop_string(stop: list[str], expected: str) -> None:
    assert FakeChatModel(responses=["due in 72 hours"]).invoke("?", stop=stop).text == expected


def test_calls_a_tool() -> None:
    reply = FakeChatModel(responses=[tool("search", q="日本")]).bind_tools([]).invoke("?")
    assert isinstance(reply, AIMessage)
    assert [(call["name"], call["args"]) for call in reply.tool_calls] == [("search", {"q": "日本"})]
    assert reply.content == ""


def test_keeps_what_it_was_asked() -> None:
    model = FakeChatModel()
    model.invoke("first")
    list(model.stream("second"))
    assert [[message.text for message in prompt] for prompt in model.prompts] == [["first"], ["second"]]


def test_counts_words_as_tokens() -> None:
    reply = FakeChatModel(responses=["in 72 hours"]).invoke("When is it due?")
    assert reply.usage_metadata == {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7}


def test_each_of_many_threads_gets_a_response_of_its_own() -> None:
    model = FakeChatModel(responses=[str(number) for number in range(200)])
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: model.invoke("?").text, range(200)))
    assert sorted(said, key=int) == [str(number) for number in range(200)]


def test_needs_something_to_say() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        FakeChatModel(responses=[])
