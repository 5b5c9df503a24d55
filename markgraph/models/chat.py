"""A LangChain chat model over an engine on this machine."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any, Literal, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import (
    BaseChatModel,
    LangSmithParams,
    LanguageModelInput,
    ModelProfile,
)
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from markgraph.engines.port import Engine, Sampling, Token
from markgraph.errors import UsageError
from markgraph.models.answer import Answer
from markgraph.models.call_options import FORM, call_options
from markgraph.models.chat_template import encode, format_of
from markgraph.models.constrain import constrainer
from markgraph.models.learned import Learned, for_caller, label
from markgraph.models.structured import Schema, StructuredOutput, pydantic_class, titled, with_raw

SETTINGS = ("max_tokens", "temperature", "top_p", "top_k", "seed", "logprobs", "top_logprobs", "adapter")
_AT_ONCE = 64
"""Threads of a batch at most: they only wait, since the engine computes all answers together."""

ToolLike = dict[str, Any] | type | Callable[..., Any] | BaseTool


class LocalChatModel(BaseChatModel):
    """Chats through an `Engine`: streaming, stop strings, usage, log-probabilities, tools, structured output.

    A tool call or a structured answer is held to its schema token by token, so that it parses whenever it is
    complete. A consumer that goes away stops the computation, at the latest after the step under way.
    Does not include: images, audio; the reasoning of a model that thinks aloud stays in its text.
    """

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)

    engine: SkipValidation[Engine] = Field(exclude=True)
    """What computes the tokens; its weights are read at the first call."""
    model_name: str = Field(default="local", alias="model")
    """What answers and logs call this model."""
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    logprobs: bool = False
    """Whether `response_metadata["logprobs"]` holds each token's log-probability, in OpenAI's form."""
    top_logprobs: int | None = None
    """Log-probabilities of so many of the likeliest tokens besides."""
    adapter: str | None = None
    """The adapter to answer with, by the name that the engine was given for it."""
    stop: list[str] = Field(default_factory=list)
    """Strings that end an answer and are not part of it, wherever token borders fall."""
    constrain: bool = True
    """Hold tool calls and structured answers to their schemas; false for an engine that has no mask."""
    template_values: dict[str, Any] = Field(default_factory=dict)
    """What the chat template is given besides: `{enable_thinking: false}` for Qwen3."""

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

    def _resolve_model_profile(self) -> ModelProfile:
        return {"tool_calling": True, "tool_choice": self.constrain, "structured_output": self.constrain}

    def bind_tools(
        self,
        tools: Sequence[ToolLike],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,  # noqa: ARG002 -- a call always fits its schema
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with `tools`.

        With "auto" (or None) it calls one when it sees fit; with "any", "required" or True it has to; with
        a name it has to call that one; with "none" it can't. `parallel_tool_calls` says whether an answer
        may hold several: by default with "auto" only.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def with_structured_output(
        self,
        schema: Schema,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,  # noqa: ARG002 -- an answer always fits its schema
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Return this model, answering with objects of `schema`: a pydantic class, TypedDict or JSON schema.

        "json_schema" and "json_mode" are the same: the schema is in the prompt, and the answer keeps to it.
        An answer that `max_tokens` cuts short raises OutputParserException, or is a `parsing_error`
        with `include_raw`.

        Raises:
            UsageError: there is no such method.
        """
        schema = titled(schema)
        kwargs["ls_structured_output_format"] = {"kwargs": {"method": method}, "schema": schema}
        if method == "function_calling":
            model = self.bind_tools([schema], tool_choice="any", **kwargs)
        elif method in ("json_schema", "json_mode"):
            form = {"name": "answer", "schema": convert_to_json_schema(schema)}
            model = self.bind(response_format={"type": "json_schema", "json_schema": form}, **kwargs)
        else:
            raise UsageError(
                f"with_structured_output has no method {method!r}. "
                "Allowed: json_schema, function_calling, json_mode."
            )
        parser = StructuredOutput(model=pydantic_class(schema), called=method == "function_calling")
        return with_raw(model, parser) if include_raw else model | parser

    def get_num_tokens(self, text: str) -> int:
        """Return how many tokens of this model `text` takes."""
        engine, _ = for_caller(self.engine, self.adapter)  # what others may not use needn't be loaded
        return len(engine.tokenizer(text, add_special_tokens=False).input_ids)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Answer all `inputs` at once, unless `max_concurrency` says otherwise: an engine batches them."""
        width = {"max_concurrency": min(max(len(inputs), 1), _AT_ONCE)}
        configs = [
            cast("RunnableConfig", width | {key: value for key, value in one.items() if value is not None})
            for one in get_config_list(config, len(inputs))
        ]
        return super().batch(inputs, configs, return_exceptions=return_exceptions, **kwargs)

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
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        engine, prompt, sampling, answer = self._asked(messages, stop, kwargs)
        tokens = cast("Generator[Token]", engine.stream(prompt, sampling))
        with closing(_answered(tokens, answer)) as chunks:
            for chunk in chunks:
                if run_manager and chunk.text:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        # In a thread, for milliseconds: the first call reads the weights, which would hold the loop up.
        engine, prompt, sampling, answer = await asyncio.to_thread(self._asked, messages, stop, kwargs)
        tokens = cast("AsyncGenerator[Token]", engine.astream(prompt, sampling))
        async with aclosing(_aanswered(tokens, answer)) as chunks:
            async for chunk in chunks:
                if run_manager and chunk.text:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    def _asked(
        self, messages: list[BaseMessage], stop: list[str] | None, overrides: dict[str, Any]
    ) -> tuple[Engine, list[int], Sampling, Answer]:
        """Return the engine, what it is asked, and what makes its tokens an answer."""
        settings = self._settings(overrides)
        options = call_options(**{name: overrides.get(name) for name in FORM})
        if options.forced and not self.constrain:
            raise UsageError(
                "tool_choice asks for a call, and with constrain=false nothing makes the model call. "
                "Allowed: auto, none. Choose an engine that has a mask, and constrain=true."
            )
        engine, adapter = for_caller(self.engine, settings["adapter"])
        tokenizer = engine.tokenizer
        prompt = encode(tokenizer, messages, options.tools, options.schema, self.template_values)
        grammar = options.grammar(tokenizer) if self.constrain else None
        sampling = Sampling(
            max_tokens=min(settings["max_tokens"], self._room(engine, len(prompt))),
            temperature=settings["temperature"],
            top_p=settings["top_p"],
            top_k=settings["top_k"],
            seed=settings["seed"],
            logprobs=_logprobs(settings),
            mask=constrainer(tokenizer).mask(grammar) if grammar else None,
            adapter=adapter,
        )
        learned = engine.references(adapter) if isinstance(engine, Learned) else ()
        answer = Answer(
            self.model_name + label(learned),
            tokenizer,
            prompt_tokens=len(prompt),
            max_tokens=sampling.max_tokens,
            stop=[*self.stop, *(stop or [])],
            tools=options.tools,
            style=format_of(tokenizer) if options.tools else None,
        )
        return engine, prompt, sampling, answer

    def _settings(self, overrides: dict[str, Any]) -> dict[str, Any]:
        if unknown := overrides.keys() - {*SETTINGS, *FORM, "ls_structured_output_format"}:
            raise UsageError(
                f"Unknown model setting {sorted(unknown)}. Allowed: {', '.join((*SETTINGS, *FORM))}."
            )
        return {name: overrides.get(name, self.__dict__[name]) for name in SETTINGS}

    def _room(self, engine: Engine, prompt_tokens: int) -> int:
        room = engine.context_tokens - prompt_tokens
        if room <= 0:
            raise UsageError(
                f"The prompt has {prompt_tokens} tokens; {self.model_name} reads at most "
                f"{engine.context_tokens}, its answer included. Lower graph.compress.max_tokens."
            )
        return room


def _logprobs(settings: dict[str, Any]) -> int | None:
    if not settings["logprobs"] and settings["top_logprobs"] is None:
        return None
    return settings["top_logprobs"] or 0


def _answered(tokens: Generator[Token], answer: Answer) -> Generator[ChatGenerationChunk]:
    with closing(tokens):
        for token in tokens:
            yield answer.push(token)
            if answer.stopped:
                break
    yield from answer.finish()


async def _aanswered(tokens: AsyncGenerator[Token], answer: Answer) -> AsyncGenerator[ChatGenerationChunk]:
    async with aclosing(tokens):
        async for token in tokens:
            yield answer.push(token)
            if answer.stopped:
                break
    for chunk in answer.finish():
        yield chunk
