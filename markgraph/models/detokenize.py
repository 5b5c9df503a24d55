"""Token ids to text as it comes, with stop strings."""

from collections.abc import Sequence
from typing import Any


class Detokenizer:
    """Emits text only when it is sure: no half characters, and no beginning of a stop string."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = [text for text in stop if text]
        self._ids: list[int] = []
        self._emitted = 0
        self.stopped = False

    @property
    def tokens(self) -> int:
        """Return how many ids have come in."""
        return len(self._ids)

    def push(self, token: int) -> str:
        """Take one id and return the text that is certain now; sets `stopped` at a stop string."""
        self._ids.append(token)
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        ends = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._emit(text[: min(ends)])
        if text.endswith("\ufffd"):  # a character whose last bytes are still to come
            return ""
        return self._emit(text[: len(text) - self._held_back(text)])

    def flush(self) -> str:
        """Return what was held back, once no id will follow; a character that stayed half is dropped."""
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        return self._emit(text.rstrip("\ufffd"))

    def _emit(self, text: str) -> str:
        piece, self._emitted = text[self._emitted :], max(self._emitted, len(text))
        return piece

    def _held_back(self, text: str) -> int:
        """Return the length of the longest end of `text` that begins a stop string."""
        lengths = (size for stop in self._stop for size in range(1, len(stop)) if text.endswith(stop[:size]))
        return max(lengths, default=0)
