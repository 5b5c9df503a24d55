"""A LangChain chat model over an engine on this machine."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, SkipValidation

from markgraph.engines.port import Engine, Sampling, Token
from markgraph.errors import UsageError
from markgraph.models.detokenize import Detokenizer
from markgraph.models.tool_calls import parse_tool_calls, to_chat

SETTINGS = ("max_tokens", "temperature", "top_p", "seed")


class LocalChatModel(BaseChatModel):
    """Chats through an `Engine`: true token streaming, stop strings, usage counts.

    A consumer that goes away stops the computation, at the latest after the token that is under way.
    Does not include: constrained decoding; tool calls are asked for in the prompt and parsed.
    """

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)

    engine: SkipValidation[Engine] = Field(exclude=True)
    """What computes the tokens; its weights are read at the first call."""
    model_name: str = Field(default="local", alias="model")
    """What answers and logs call this model."""
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: list[str] = Field(default_factory=list)
    """Strings that end an answer and are not part of it, wherever token borders fall."""

    @property
    def _llm_type(self) -> str:
        return "markgraph-local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        # LangChain keeps the stop strings of a call under `stop`.
        own = {"model_name": self.model_name, "default_stop": self.stop}
        return own | {name: self.__dict__[name] for name in SETTINGS}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "markgraph"
        return params

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,  # noqa: ARG002 -- asking for one tool needs constrained decoding
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with `tools` described in its prompt."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def get_num_tokens(self, text: str) -> int:
        """Return how many tokens of this model `text` takes."""
        return len(self.engine.tokenizer(text, add_special_tokens=False).input_ids)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # Not `_generate` in a thread: that would go on after a cancelled `ainvoke`.
        return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        tools: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        answer, prompt, sampling = self._ask(messages, stop, tools or [], kwargs)
        for token in self.engine.stream(prompt, sampling):
            chunk = answer.push(token)
            if run_manager and chunk.text:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
            if answer.stopped:
                break
        for chunk in answer.finish():
            if run_manager and chunk.text:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        tools: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        answer, prompt, sampling = self._ask(messages, stop, tools or [], kwargs)
        async for token in self.engine.astream(prompt, sampling):
            chunk = answer.push(token)
            if run_manager and chunk.text:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk
            if answer.stopped:
                break
        for chunk in answer.finish():
            if run_manager and chunk.text:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _ask(
        self, messages: list[BaseMessage], stop: list[str] | None, tools: list[dict[str, Any]], kwargs: Any
    ) -> tuple["Answer", list[int], Sampling]:
        prompt = self._encode(messages, tools)
        text = Detokenizer(self.engine.tokenizer, [*self.stop, *(stop or [])])
        sampling = self._sampling(len(prompt), kwargs)
        return Answer(self.model_name, len(prompt), text, tools), prompt, sampling

    def _encode(self, messages: list[BaseMessage], tools: list[dict[str, Any]]) -> list[int]:
        tokenizer = self.engine.tokenizer
        # `all_special_tokens` is not all of them: SmolLM2's <file_sep> and others are only here.
        controls = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        chat = [turn | {"content": _defused(turn["content"], controls)} for turn in to_chat(messages, tools)]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids: list[int] = tokenizer(prompt, add_special_tokens=False).input_ids
        return ids

    def _sampling(self, prompt_tokens: int, overrides: dict[str, Any]) -> Sampling:
        if unknown := overrides.keys() - {*SETTINGS, "tool_choice", "ls_structured_output_format"}:
            raise UsageError(f"Unknown model setting {sorted(unknown)}. Allowed: {', '.join(SETTINGS)}.")
        settings = {name: overrides.get(name, self.__dict__[name]) for name in SETTINGS}
        room = self.engine.context_tokens - prompt_tokens
        if room <= 0:
            raise UsageError(
                f"The prompt has {prompt_tokens} tokens; {self.model_name} reads at most "
                f"{self.engine.context_tokens}, its answer included. Lower graph.compress.max_tokens."
            )
        return Sampling(**settings | {"max_tokens": min(settings["max_tokens"], room)})


class Answer:
    """An answer in the making: tokens in, chunks out."""

    def __init__(
        self, model_name: str, prompt_tokens: int, text: Detokenizer, tools: list[dict[str, Any]]
    ) -> None:
        self._model_name, self._prompt_tokens, self._text, self._tools = (
            model_name,
            prompt_tokens,
            text,
            tools,
        )
        self._held = ""

    @property
    def stopped(self) -> bool:
        """Tell whether a stop string has come."""
        return self._text.stopped

    def push(self, token: Token) -> ChatGenerationChunk:
        """Return a chunk for each token, if only an empty one: between two, a consumer can leave."""
        return _chunk(self._shown(self._text.push(token.id)))

    def finish(self) -> Iterator[ChatGenerationChunk]:
        """Yield what was held back, and last the usage."""
        if piece := self._shown("" if self.stopped else self._text.flush()):
            yield _chunk(piece)
        if self._tools:
            yield ChatGenerationChunk(message=parse_tool_calls(self._held, self._tools))
        yield self._last()

    def _shown(self, piece: str) -> str:
        """Hold the text back until it is complete: only then is a tool call known for one."""
        if not self._tools:
            return piece
        self._held += piece
        return ""

    def _last(self) -> ChatGenerationChunk:
        usage = UsageMetadata(
            input_tokens=self._prompt_tokens,
            output_tokens=self._text.tokens,
            total_tokens=self._prompt_tokens + self._text.tokens,
        )
        message = AIMessageChunk(
            content="",
            usage_metadata=usage,
            response_metadata={"model_name": self._model_name, "model_provider": "markgraph"},
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message)


def _chunk(text: str) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=text))


def _defused(content: str, controls: Sequence[str]) -> str:
    """Break the control tokens in what people and documents wrote; taking them out could join two halves."""
    for control in controls:
        content = content.replace(control, f"{control[0]} {control[1:]}")
    return content
