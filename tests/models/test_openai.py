"""A model behind a server of one's own: what is sent, where it goes, and what is said when it goes wrong."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool

from markgraph.build import compose, load_graph
from markgraph.engines.fake import FakeEngine
from markgraph.errors import ConfigError, EngineError, MarkError, OverloadedError, UsageError
from markgraph.models.chat import LocalChatModel
from markgraph.models.openai import connect
from markgraph.models.source import resolve
from tests.models.openai_server import KEY, MODEL, ScriptedServer, elsewhere, refusal, served

ANSWER = "Payment is due within 30 days."
SERVERS = ("openai", "vllm", "sglang", "ollama", "llamacpp_server", "triton", "tensorrt_llm")


@pytest.fixture
def scripted() -> ScriptedServer:
    return ScriptedServer(LocalChatModel(engine=FakeEngine([ANSWER]), model="inside"))


@pytest.fixture
def address(scripted: ScriptedServer) -> Iterator[str]:
    with served(scripted.app()) as address:
        yield address


@pytest.fixture
def model(address: str) -> BaseChatModel:
    return connect(address, MODEL, max_retries=0)


def test_answers_in_one_piece_and_in_many(model: BaseChatModel) -> None:
    assert model.invoke("When?").text == ANSWER
    pieces = list(model.stream("When?"))
    assert len(pieces) > 4
    assert "".join(piece.text for piece in pieces) == ANSWER


def test_async_answers_are_the_sync_ones(model: BaseChatModel) -> None:
    async def ask() -> tuple[str, str]:
        pieces = [piece.text async for piece in model.astream("When?")]
        return (await model.ainvoke("When?")).text, "".join(pieces)

    assert asyncio.run(ask()) == (ANSWER, ANSWER)


def test_counts_tokens_as_the_server_does(model: BaseChatModel) -> None:
    whole = AIMessageChunk(content="")
    for chunk in model.stream("When?"):
        whole += chunk  # type: ignore[assignment]
    for message in (whole, model.invoke("When?")):
        assert message.usage_metadata is not None
        assert message.usage_metadata["output_tokens"] == len(ANSWER)
        assert message.usage_metadata["input_tokens"] > len("When?")


def test_sends_its_settings_under_the_names_that_all_servers_know(
    address: str, scripted: ScriptedServer
) -> None:
    model = connect(
        address, MODEL, max_tokens=12, temperature=0.5, seed=3, stop=["\n"], extra_body={"top_k": 20}
    )
    assert model.invoke("When?").text == ANSWER[:12]
    sent = scripted.asked[0]
    assert sent["messages"] == [{"role": "user", "content": "When?"}]
    expected = {"max_tokens": 12, "temperature": 0.5, "top_p": 1.0, "seed": 3, "stop": ["\n"], "top_k": 20}
    assert expected.items() <= sent.items()


def test_a_stop_string_of_the_call_reaches_the_server(model: BaseChatModel) -> None:
    assert model.invoke("When?", stop=[" within"]).text == "Payment is due"


def test_sends_the_key_of_the_config_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "somebody's key")
    monkeypatch.setenv("OPENAI_API_BASE", "http://192.0.2.1/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    monkeypatch.setenv("LANGSMITH_GATEWAY", "http://192.0.2.1")
    monkeypatch.setenv("LANGSMITH_GATEWAY_API_KEY", "another key")
    scripted = ScriptedServer(LocalChatModel(engine=FakeEngine([ANSWER]), model="inside"), KEY)
    with served(scripted.app()) as address:
        assert connect(address, MODEL, api_key=KEY).invoke("When?").text == ANSWER
        with pytest.raises(UsageError, match=r"answered 401: .*Invalid key.*model\.api_key"):
            connect(address, MODEL).invoke("When?")
    assert [headers["authorization"] for headers in scripted.headers] == [f"Bearer {KEY}", "Bearer none"]


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:8000/v1", "https://api.openai.com/v1", "http://localhost.example"]
)
def test_another_machine_is_refused_unless_the_config_says_so(url: str) -> None:
    with pytest.raises(UsageError, match=r"another machine.*127\.0\.0\.1.*model\.remote=true"):
        connect(url, MODEL)
    assert connect(url, MODEL, remote=True).openai_api_base == url


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "ftp://127.0.0.1/v1", "http:///v1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"Allowed: http://HOST:PORT/PATH"):
        connect(url, MODEL)


def test_does_not_follow_where_a_server_sends_it(model: BaseChatModel, scripted: ScriptedServer) -> None:
    scripted.answer_with = elsewhere()
    with pytest.raises(UsageError, match="answered 307"):
        model.invoke("When?")


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_a_server_that_is_not_there_is_an_error_that_says_how_to_start_it(way: str) -> None:
    with served(ScriptedServer(LocalChatModel(engine=FakeEngine(["-"]))).app()) as gone:
        pass
    model = connect(gone, MODEL, start="vllm serve scripted", max_retries=0)

    async def follow() -> Any:
        return await model.ainvoke("?") if way == "ainvoke" else [piece async for piece in model.astream("?")]

    with pytest.raises(
        EngineError, match=rf"No answer from {gone}.*Start the server \(vllm serve scripted\)"
    ):
        asyncio.run(follow()) if way.startswith("a") else list(getattr(model, way)("?"))


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_stream_that_breaks_off_is_an_error(
    way: str, model: BaseChatModel, scripted: ScriptedServer
) -> None:
    scripted.break_off = True

    async def follow() -> list[Any]:
        return [piece async for piece in model.astream("When?")]

    with pytest.raises(EngineError, match="No answer from"):
        list(model.stream("When?")) if way == "sync" else asyncio.run(follow())


@pytest.mark.parametrize(
    ("status", "said", "kind", "advice"),
    [
        (429, "Too many.", OverloadedError, "Ask again later"),
        (503, "Loading model", OverloadedError, "Ask again later"),
        (400, "context_length_exceeded: 9000 tokens", UsageError, r"lower graph\.compress\.max_tokens"),
        (422, "No tools here.", UsageError, "Correct the request"),
        (500, "Out of memory.", EngineError, "server's log"),
    ],
)
def test_what_the_server_refuses_says_what_to_do(
    status: int, said: str, kind: type[MarkError], advice: str, model: BaseChatModel, scripted: ScriptedServer
) -> None:
    scripted.answer_with = refusal(status, said)
    for ask in (model.invoke, lambda text: list(model.stream(text))):
        with pytest.raises(kind, match=f"{said}.*{advice}"):
            ask("When?")


def test_a_model_that_the_server_lacks_says_where_to_look(address: str) -> None:
    with pytest.raises(UsageError, match=rf"no model 'other'.*{address}/models.*model\.model"):
        connect(address, "other").invoke("When?")


def test_a_slow_server_is_given_up(address: str, scripted: ScriptedServer) -> None:
    scripted.model = LocalChatModel(engine=FakeEngine(["Yes."], seconds=0.5))
    with pytest.raises(EngineError, match=r"sent nothing for 0\.1 seconds.*model\.timeout"):
        connect(address, MODEL, timeout=0.1, max_retries=0).invoke("When?")


def test_estimates_tokens_without_fetching_a_tokenizer(model: BaseChatModel) -> None:
    assert model.get_num_tokens(ANSWER) == 10
    assert model.get_num_tokens_from_messages([HumanMessage(ANSWER), HumanMessage(ANSWER)]) == 20
    with pytest.raises(UsageError, match="at the server"):
        model.get_token_ids(ANSWER)


@pytest.mark.parametrize("option", SERVERS)
def test_the_configs_ask_this_machine_and_take_no_unknown_setting(option: str) -> None:
    settings = compose("ask", [f"model={option}"]).model
    assert settings.base_url.startswith("http://127.0.0.1:")
    assert settings.start
    with pytest.raises(ConfigError, match=r"model\.temprature"):
        load_graph("qa", [f"model={option}", "+model.temprature=1"])


leaky = pytest.mark.filterwarnings("ignore:.*MemoryObjectReceiveStream")
"""llama.cpp's server leaves its streams to be collected."""


@pytest.fixture(scope="module")
def llama_cpp_server() -> Iterator[str]:
    """Serve SmolLM2 with llama.cpp's own server, and another that is held to calls."""
    app = pytest.importorskip("llama_cpp.server.app", reason="needs the extra [llamacpp] with its server")
    settings = pytest.importorskip("llama_cpp.server.settings")
    weights = compose("ask", ["model=smollm2"]).model.engine
    fixed = {"model": str(resolve(weights.source, weights.sha256)), "n_ctx": 256, "n_threads": 1}
    options = [
        settings.ModelSettings(**fixed, model_alias="smollm2", verbose=True),
        settings.ModelSettings(
            **fixed, model_alias="caller", verbose=True, chat_format="chatml-function-calling"
        ),
    ]
    with served(app.create_app(server_settings=settings.ServerSettings(), model_settings=options)) as url:
        yield url
    gc.collect()


@pytest.mark.weights
@leaky
def test_answers_through_the_server_of_llama_cpp(llama_cpp_server: str) -> None:
    model = connect(llama_cpp_server, "smollm2", max_tokens=24)
    said = model.invoke("What is the capital of France?")
    assert said.text.strip()
    assert said.usage_metadata is not None
    assert 0 < said.usage_metadata["output_tokens"] <= 24
    assert "".join(piece.text for piece in model.stream("What is the capital of France?")) == said.text


@pytest.mark.weights
@leaky
def test_calls_tools_through_the_server_of_llama_cpp(llama_cpp_server: str) -> None:
    @tool
    def get_weather(location: str) -> str:
        """Get the weather at a location."""
        return f"It's sunny in {location}."

    model = connect(llama_cpp_server, "caller", max_tokens=48)
    said = model.bind_tools([get_weather], tool_choice="get_weather").invoke("What is the weather in Paris?")
    assert [call["name"] for call in said.tool_calls] == ["get_weather"]
    assert get_weather.invoke(said.tool_calls[0]["args"]) == "It's sunny in Paris."
