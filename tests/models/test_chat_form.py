"""The form of an answer is what was asked for, whatever the model would rather say.

The engine's likeliest tokens are a script; where a mask forbids them, it says something else.
"""

import asyncio
import json
import threading
from collections.abc import Generator
from typing import Any, Literal

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessageChunk, HumanMessage
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from markgraph.engines.fake import FakeEngine
from markgraph.engines.port import Sampling, Token
from markgraph.errors import UsageError
from markgraph.models.chat import LocalChatModel
from tests.models.families import ALL, tokenizer_of

WIDE = 1 << 16


class Pay(BaseModel):
    """Pays."""

    unit: Literal["day", "week"]
    days: int = Field(ge=1, le=30)


class Clock(BaseModel):
    """Tells the time."""


class Due(TypedDict):
    """When payment is due."""

    payer: str
    days: int


DUE = '{"payer": "the büyer", "days": 30}'
VALUE = {"payer": "the büyer", "days": 30}


def scripted(*answers: str, family: str = "plain", **settings: Any) -> LocalChatModel:
    engine = FakeEngine(answers, tokenizer_of(family), context_tokens=WIDE)
    return LocalChatModel(engine=engine, **settings)


def engine_of(model: LocalChatModel) -> FakeEngine:
    assert isinstance(model.engine, FakeEngine)
    return model.engine


def told(model: LocalChatModel) -> str:
    """Return the last prompt."""
    engine = engine_of(model)
    return str(engine.tokenizer.decode(engine.prompts[-1]))


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("choice", ["any", "required", True, "Pay", {"function": {"name": "Pay"}}])
def test_a_model_that_must_call_calls(family: str, choice: Any) -> None:
    model = scripted("I'd rather not.", family=family)
    reply = model.bind_tools([Pay], tool_choice=choice).invoke("?")
    (call,) = reply.tool_calls
    assert call["name"] == "Pay"
    Pay.model_validate(call["args"])
    assert (reply.text, reply.response_metadata["finish_reason"]) == ("", "tool_calls")


def test_a_named_tool_is_the_one_that_is_called() -> None:
    for name in ("Pay", "Clock"):
        reply = scripted("No.").bind_tools([Pay, Clock], tool_choice=name).invoke("?")
        assert [call["name"] for call in reply.tool_calls] == [name]


@pytest.mark.parametrize("family", ALL)
def test_a_model_that_may_call_may_speak(family: str) -> None:
    model = scripted("It is {due} <soon>.", family=family)
    reply = model.bind_tools([Pay]).invoke("?")
    assert (reply.text, reply.tool_calls) == ("It is {due} <soon>.", [])
    assert "Pays." in told(model)


def test_a_model_that_must_not_call_is_told_of_no_tools() -> None:
    call = '<tool_call>{"name": "Clock", "arguments": {}}</tool_call>'
    model = scripted(call)
    reply = model.bind_tools([Clock], tool_choice="none").invoke("?")
    assert (reply.text, reply.tool_calls) == (call, [])
    assert "Tells the time." not in told(model)


def test_several_calls_come_only_where_they_are_wanted() -> None:
    twice = '<tool_call>{"name": "Clock", "arguments": {}}</tool_call>' * 2
    assert len(scripted(twice).bind_tools([Clock]).invoke("?").tool_calls) == 2
    for options in ({"parallel_tool_calls": False}, {"tool_choice": "any"}):
        assert len(scripted(twice).bind_tools([Clock], **options).invoke("?").tool_calls) == 1


def test_words_before_a_call_stream_at_once_and_markup_never() -> None:
    model = scripted('I look.<tool_call>{"name": "Clock", "arguments": {}}</tool_call>')
    chunks = list(model.bind_tools([Clock]).stream("?"))
    assert [chunk.text for chunk in chunks if chunk.text] == list("I look.")
    assert [call["name"] for chunk in chunks for call in chunk.tool_calls] == ["Clock"]


def test_a_call_that_is_cut_short_is_no_call() -> None:
    reply = scripted("No.", max_tokens=30).bind_tools([Pay], tool_choice="any").invoke("?")
    assert reply.tool_calls == []
    assert len(reply.invalid_tool_calls) == 1
    assert reply.response_metadata["finish_reason"] == "length"


@pytest.mark.parametrize("choice", ["Rm", {"function": {"name": "Rm"}}])
def test_a_tool_that_is_not_there_cannot_be_chosen(choice: Any) -> None:
    with pytest.raises(UsageError, match=r"tool_choice is .*Rm.*Allowed.*: auto, none, any, Pay, Clock\."):
        scripted("No.").bind_tools([Pay, Clock], tool_choice=choice).invoke("?")


def test_without_a_mask_no_call_can_be_forced() -> None:
    model = scripted("No.", constrain=False)
    with pytest.raises(UsageError, match=r"constrain=false.*Allowed: auto, none"):
        model.bind_tools([Pay], tool_choice="any").invoke("?")
    assert model.bind_tools([Pay]).invoke("?").text == "No."
    assert engine_of(model).samplings[-1].mask is None


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
@pytest.mark.parametrize("family", ["plain", "llama"])
def test_structured_answers_are_objects_of_their_schema(method: Any, family: str) -> None:
    reply = scripted("No.", family=family).with_structured_output(Pay, method=method).invoke("?")
    assert isinstance(reply, Pay)


@pytest.mark.parametrize(
    "schema",
    [Due, {"properties": {"payer": {"type": "string"}, "days": {"type": "integer"}}, "type": "object"}],
    ids=["TypedDict", "JSON schema"],
)
def test_schemas_that_are_no_class_give_dicts(schema: Any) -> None:
    model = scripted(DUE).with_structured_output(schema)
    assert model.invoke("?") == VALUE
    assert asyncio.run(model.ainvoke("?")) == VALUE
    assert list(model.stream("?")) == [VALUE]


def test_an_answer_that_is_cut_short_is_an_error_that_says_so() -> None:
    model = scripted(DUE, max_tokens=20)
    with pytest.raises(OutputParserException, match=r"no complete JSON.*cut off: raise max_tokens"):
        model.with_structured_output(Due).invoke("?")
    with pytest.raises(OutputParserException, match=r"without a complete tool call.*raise max_tokens"):
        model.with_structured_output(Due, method="function_calling").invoke("?")


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_the_message_comes_with_the_value_or_the_error(method: Any) -> None:
    whole = scripted("No.").with_structured_output(Pay, method=method, include_raw=True).invoke("?")
    assert isinstance(whole, dict)
    assert isinstance(whole["parsed"], Pay)
    assert whole["parsing_error"] is None
    cut = scripted("No.", max_tokens=20).with_structured_output(Pay, method=method, include_raw=True)
    answer = cut.invoke("?")
    assert isinstance(answer, dict)
    assert answer["parsed"] is None
    assert isinstance(answer["parsing_error"], OutputParserException)
    assert answer["raw"].usage_metadata["output_tokens"] == 20


def test_a_value_that_the_class_refuses_is_an_error() -> None:
    class Odd(BaseModel):
        """An odd number, which no grammar says."""

        number: Literal[2]

        @field_validator("number")
        @classmethod
        def odd(cls, number: int) -> int:
            raise ValueError(f"{number} is even")

    with pytest.raises(OutputParserException, match=r"no Odd: [^.]*2 is even"):
        scripted("No.").with_structured_output(Odd).invoke("?")


def test_a_method_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no method 'yaml'.*Allowed: json_schema"):
        scripted("No.").with_structured_output(Pay, method="yaml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "expected"),
    [({"type": "json_object"}, {}), ({"type": "text"}, None), (None, None)],
)
def test_takes_openais_response_formats(form: Any, expected: Any) -> None:
    reply = scripted("{}").invoke("?", response_format=form)
    assert json.loads(reply.text) == {}
    masked = engine_of(model := scripted("No."))
    assert model.invoke("?", response_format=form).text.startswith("{" if expected is not None else "No.")
    assert (masked.samplings[-1].mask is None) == (expected is None)


def test_a_response_format_of_no_known_form_is_refused() -> None:
    with pytest.raises(UsageError, match=r"response_format is 'json'.*Allowed"):
        scripted("No.").invoke("?", response_format="json")


def test_log_probabilities_come_when_they_are_asked_for() -> None:
    model = scripted("Zwölf.")
    assert "logprobs" not in model.invoke("?").response_metadata
    reply = model.invoke("?", logprobs=True, top_logprobs=3)
    whole = AIMessageChunk("")
    for chunk in model.stream("?", logprobs=True, top_logprobs=3):
        whole += chunk
    for entries in (
        reply.response_metadata["logprobs"]["content"],
        whole.response_metadata["logprobs"]["content"],
    ):
        assert len(entries) == len("Zwölf.".encode())
        assert "".join(one["token"] for one in entries if one["bytes"] is not None) == "Zwlf."
        for entry in entries:
            assert entry["logprob"] == entry["top_logprobs"][0]["logprob"] < 0
            assert len(entry["top_logprobs"]) == 3
    alone = model.invoke("?", logprobs=True).response_metadata["logprobs"]["content"]
    assert all(entry["top_logprobs"] == [] for entry in alone)


def test_all_settings_reach_the_engine() -> None:
    model = scripted("No.", top_k=7, seed=3)
    model.invoke("?", temperature=0.5, top_p=0.9, max_tokens=9, top_logprobs=2)
    expected = Sampling(9, temperature=0.5, top_p=0.9, top_k=7, seed=3, logprobs=2)
    assert engine_of(model).samplings == [expected]


class Together(FakeEngine):
    """Says nothing before so many are asking."""

    barrier = threading.Barrier(12, timeout=60)

    def stream(self, prompt: list[int], sampling: Sampling) -> Generator[Token, None, None]:
        self.barrier.wait()
        return super().stream(prompt, sampling)


def test_a_batch_is_asked_all_at_once() -> None:
    model = LocalChatModel(engine=Together(["Yes."], context_tokens=WIDE))
    replies = model.batch([[HumanMessage(str(number))] for number in range(12)])
    assert [reply.text for reply in replies] == ["Yes."] * 12


def test_the_first_error_of_a_batch_is_raised_or_returned() -> None:
    model = LocalChatModel(engine=FakeEngine(["Yes."], context_tokens=60))
    short, long = [HumanMessage("?")], [HumanMessage("x" * 99)]
    with pytest.raises(UsageError, match="reads at most 60"):
        model.batch([short, long])
    replies = model.batch([short, long], return_exceptions=True)
    assert replies[0].text == "Yes."
    assert isinstance(replies[1], UsageError)
