"""An answer in the making: tokens in, chunks of a message out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk

from markgraph.engines.port import Token
from markgraph.models.detokenize import Detokenizer
from markgraph.models.tool_calls import ToolFormat, parse_tool_calls


@dataclass
class Answer:
    """Turns the tokens of one answer into chunks: text as soon as it is certain, tool calls once complete."""

    model_name: str
    tokenizer: Any
    prompt_tokens: int
    max_tokens: int
    stop: Sequence[str] = ()
    tools: list[dict[str, Any]] = field(default_factory=list)
    style: ToolFormat | None = None
    """How the model writes calls of `tools`; None when it was offered none."""

    def __post_init__(self) -> None:
        shown = [self.style.tag] if self.style else []
        self._text = Detokenizer(self.tokenizer, self.stop, shown)
        self._held = ""
        self._said = False

    @property
    def stopped(self) -> bool:
        """Tell whether a stop string has come."""
        return self._text.stopped

    def push(self, token: Token) -> ChatGenerationChunk:
        """Return a chunk for each token, if only an empty one: between two, a consumer can leave."""
        info = {"logprobs": {"content": [self._scored(token)]}} if token.logprob is not None else None
        message = AIMessageChunk(content=self._shown(self._text.push(token.id)))
        return ChatGenerationChunk(message=message, generation_info=info)

    def finish(self) -> Iterator[ChatGenerationChunk]:
        """Yield what was held back, and last the usage and why the answer ended."""
        rest = AIMessageChunk(content=self._shown("" if self.stopped else self._text.flush()))
        if self.style:
            rest += parse_tool_calls(self._held, self.tools, self.style)
        if rest.content or rest.tool_call_chunks:
            yield ChatGenerationChunk(message=rest)
        yield ChatGenerationChunk(message=self._last(rest))

    def _shown(self, piece: str) -> str:
        """Return what of the text so far is no tool call for sure; keep the rest for later."""
        if self.style is None or (self._said and not self.style.tag):
            return piece
        self._held += piece
        cut = self.style.held_from(self._held)
        shown, self._held = self._held[:cut], self._held[cut:]
        self._said = self._said or bool(shown)
        return shown

    def _last(self, rest: AIMessageChunk) -> AIMessageChunk:
        said = self._text.tokens
        usage = UsageMetadata(
            input_tokens=self.prompt_tokens, output_tokens=said, total_tokens=self.prompt_tokens + said
        )
        metadata = {
            "model_name": self.model_name,
            "model_provider": "markgraph",
            "finish_reason": self._reason(rest),
        }
        return AIMessageChunk(
            content="", usage_metadata=usage, response_metadata=metadata, chunk_position="last"
        )

    def _reason(self, rest: AIMessageChunk) -> str:
        whole = all(chunk["name"] for chunk in rest.tool_call_chunks)
        if rest.tool_call_chunks and whole:
            return "tool_calls"
        cut = self._text.tokens >= self.max_tokens and not self.stopped
        return "length" if cut else "stop"

    def _scored(self, token: Token) -> dict[str, Any]:
        """Return a token's log-probabilities in the form of OpenAI's chat completions."""
        entry = self._entry(token.id, token.logprob)
        return entry | {"top_logprobs": [self._entry(id_, logprob) for id_, logprob in token.top]}

    def _entry(self, token: int, logprob: float | None) -> dict[str, Any]:
        text = self.tokenizer.decode([token])
        # A token may be part of a character: then it has no text of its own.
        data = None if "\ufffd" in text else list(text.encode())
        return {"token": text, "bytes": data, "logprob": logprob}
