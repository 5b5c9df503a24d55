"""A scripted chat model, for your tests and ours."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, Field, PrivateAttr


class FakeChatModel(BaseChatModel):
    """Says `responses` in turn, then repeats the last; streams them word by word.

    A response is a string, or `{"tool": name, "args": {...}}` for a tool call with JSON arguments.
    Counts words as tokens. `prompts` keeps what it was asked.
    """

    model_config = ConfigDict(populate_by_name=True)

    responses: list[str | dict[str, Any]] = Field(default=["I don't know."], min_length=1)
    model_name: str = Field(default="fake", alias="model")
    _asked: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def prompts(self) -> list[list[BaseMessage]]:
        """Return the messages of each call so far."""
        return list(self._asked)

    @property
    def _llm_type(self) -> str:
        return "markgraph-fake"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],  # noqa: ARG002
        *,
        tool_choice: str | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model; the script already says which tools it calls."""
        return self.bind(**kwargs)

    def get_num_tokens(self, text: str) -> int:
        """Return the number of words in `text`."""
        return len(text.split())

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> Iterator[ChatGenerationChunk]:
        response = self._next(messages)
        if isinstance(response, dict):
            yield self._call(response)
        for piece in _cut(response, stop or []) if isinstance(response, str) else ():
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
        yield self._last(messages, response if isinstance(response, str) else "")

    def _next(self, messages: list[BaseMessage]) -> str | dict[str, Any]:
        with self._lock:
            self._asked.append(messages)
            return self.responses[min(len(self._asked), len(self.responses)) - 1]

    def _call(self, response: dict[str, Any]) -> ChatGenerationChunk:
        call = tool_call_chunk(
            name=response["tool"], args=json.dumps(response["args"]), id=uuid4().hex, index=0
        )
        return ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))

    def _last(self, messages: list[BaseMessage], text: str) -> ChatGenerationChunk:
        asked = sum(self.get_num_tokens(message.text) for message in messages)
        said = self.get_num_tokens(text)
        usage = UsageMetadata(input_tokens=asked, output_tokens=said, total_tokens=asked + said)
        metadata = {"model_name": self.model_name}
        return ChatGenerationChunk(
            message=AIMessageChunk(
                content="", usage_metadata=usage, response_metadata=metadata, chunk_position="last"
            )
        )


def _cut(text: str, stop: list[str]) -> list[str]:
    """Return `text` up to the first stop string, in words with the space before them."""
    ends = [at for mark in stop if mark and (at := text.find(mark)) >= 0]
    return re.findall(r"\s*\S+|\s+$", text[: min(ends, default=len(text))])
