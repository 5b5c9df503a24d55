"""LangChain's OpenAI chat model, over a server of one's own and with errors that say what to do."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool
from langchain_openai.chat_models.base import BaseChatOpenAI

from markgraph.errors import EngineError, MarkError, OverloadedError, UsageError

_BYTES_PER_TOKEN = 3
"""Few enough that a text has rarely more tokens than is said."""
_BUSY = (429, 503)


class OpenAIChatModel(BaseChatOpenAI):
    """Asks a server that speaks OpenAI's chat completions.

    Does not include: OpenAI's own models and their Responses protocol.
    """

    start: str
    """The command that starts the server."""

    @property
    def _llm_type(self) -> str:
        return "markgraph-openai"

    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens `text` has, rather too many: the tokenizer is at the server."""
        return -(-len(text.encode()) // _BYTES_PER_TOKEN)

    def get_num_tokens_from_messages(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,  # noqa: ARG002
        **_: Any,
    ) -> int:
        """Return about how many tokens `messages` have together, the template's own not counted."""
        return sum(self.get_num_tokens(message.text) for message in messages)

    def get_token_ids(self, text: str) -> list[int]:  # noqa: ARG002
        """Refuse.

        Raises:
            UsageError: always; LangChain would fetch the tokenizer of another model.
        """
        raise UsageError("The tokenizer is at the server. Allowed: get_num_tokens, which estimates.")

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        with self._explained():
            yield from super()._stream(messages, stop, run_manager, **kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with self._explained():
            async for chunk in super()._astream(messages, stop, run_manager, **kwargs):
                yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._explained():
            return super()._generate(messages, stop, run_manager, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._explained():
            return await super()._agenerate(messages, stop, run_manager, **kwargs)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (openai.OpenAIError, httpx.HTTPError, httpx2.HTTPError) as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> MarkError:
        """Return what `error` means for the person who asked."""
        server, said = self.openai_api_base, " ".join(str(error).split())
        if isinstance(error, ContextOverflowError):
            return UsageError(
                f"{server} reads no prompt as long: {said} Shorten it, or lower graph.compress.max_tokens."
            )
        if isinstance(error, openai.APITimeoutError):
            return EngineError(
                f"{server} sent nothing for {self.request_timeout} seconds. Ask again, or raise "
                "model.timeout."
            )
        if not isinstance(error, openai.APIStatusError):
            return EngineError(
                f"No answer from {server}: {said.rstrip('.')}. Start the server ({self.start}), or correct "
                "model.base_url."
            )
        return self._explain_status(error.status_code, f"{server} answered {error.status_code}: {said}")

    def _explain_status(self, status: int, said: str) -> MarkError:
        if status in _BUSY:
            return OverloadedError(f"{said} Ask again later.")
        if status in (401, 403):
            return UsageError(f"{said} Give the key that the server was started with: model.api_key.")
        if status == 404:
            return UsageError(
                f"{said} The server has no model {self.model_name!r}, or no chat completions at this "
                f"address. See what it has at {self.openai_api_base}/models, and correct model.model or "
                "model.base_url."
            )
        if status < 500:
            return UsageError(f"{said} Correct the request, or choose a server that has what it asks for.")
        return EngineError(f"{said} Look into the server's log; ask again.")
