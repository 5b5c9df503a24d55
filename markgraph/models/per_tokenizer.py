"""What is worked out of a tokenizer once, and kept as long as the tokenizer lives."""

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


def once_per_tokenizer(work: Callable[[Any], T]) -> Callable[[Any], T]:
    """Let `work` be done once for each tokenizer; what it returns must not hold the tokenizer."""
    done: WeakKeyDictionary[Any, T] = WeakKeyDictionary()
    lock = Lock()

    @wraps(work)
    def of(tokenizer: Any) -> T:
        with lock:
            if tokenizer not in done:
                done[tokenizer] = work(tokenizer)
            return done[tokenizer]

    return of


@once_per_tokenizer
def control_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the control tokens and their ids.

    `all_special_tokens` is not all of them: SmolLM2's <file_sep> and others are only among the added ones.
    """
    return {token.content: id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
