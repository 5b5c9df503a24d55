"""The seam between a chat model and what computes its tokens."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch


class TokenMask(Protocol):
    """Says, one token after another, what may come next: the hook for constrained decoding."""

    def allowed(self) -> "torch.Tensor | None":
        """Return a bool tensor (v,), true for each token that may come next; None when all may.

        The end-of-text token is among them where the text may end.
        """

    def advance(self, token: int) -> None:
        """Take note of the token that was chosen."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and how often."""

    max_tokens: int = 256
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this probability (Holtzman et al. 2020)."""
    top_k: int = 0
    """Draw from so many tokens at most; 0 for all."""
    seed: int | None = None
    logprobs: int | None = None
    """None for no log-probabilities; otherwise those of the chosen token and of so many of the likeliest."""
    mask: Callable[[], TokenMask] | None = None
    """Makes the mask of one answer."""
    adapter: str | None = None
    """The adapter to answer with, by the name that the engine was given for it."""


class Token(NamedTuple):
    """A token as an engine streams it."""

    id: int
    logprob: float | None = None
    """Natural logarithm of its probability under the model, before temperature, nucleus and mask."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens and their log-probabilities, likeliest first."""


class Engine(Protocol):
    """Turns token ids into further token ids.

    Engines are safe to call from several threads at once. A consumer that stops iterating, or closes the
    iterator, stops the work, at the latest after the step that is under way.
    """

    @property
    def tokenizer(self) -> Any:
        """Return the transformers tokenizer, with the model's own chat template."""

    @property
    def context_tokens(self) -> int:
        """Return how many tokens prompt and answer may have together."""

    def stream(self, prompt: list[int], sampling: Sampling) -> Iterator[Token]:
        """Yield tokens as they are computed, without the end-of-text token.

        Raises:
            UsageError: the prompt is empty or longer than the window, or the engine can't do what is asked.
        """

    def astream(self, prompt: list[int], sampling: Sampling) -> AsyncIterator[Token]:
        """Do the same without holding a thread, where the engine can."""


_SCOPE: ContextVar[str] = ContextVar("whose caches may be used", default="")


@contextmanager
def cache_scope(scope: str) -> Iterator[None]:
    """Let what is computed in this block share caches only with what was computed in the same `scope`.

    A scope names who may read what a prompt was made from: a prompt that is answered faster because
    somebody else's began alike would tell what that one said.
    """
    token = _SCOPE.set(scope)
    try:
        yield
    finally:
        _SCOPE.reset(token)


def current_scope() -> str:
    """Return the scope that this call is in; empty outside of any."""
    return _SCOPE.get()
