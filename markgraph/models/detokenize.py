"""Token ids to text as it comes, with stop strings."""

from collections.abc import Collection, Sequence
from typing import Any

from markgraph.models.per_tokenizer import control_tokens

_CONTEXT = 8
"""Tokens that are decoded again with the next one, for what it does to them: spaces, halves of characters."""


class Detokenizer:
    """Emits text only when it is sure: no half characters, and no beginning of a stop string."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = (), shown: Collection[str] = ()) -> None:
        """Take the control tokens that count as text, if any, in `shown`."""
        self._tokenizer = tokenizer
        self._stop = [text for text in stop if text]
        self._hidden = {id_ for name, id_ in control_tokens(tokenizer).items() if name not in shown}
        self._recent: list[int] = []
        self._read = 0
        self._held = ""
        self.tokens = 0
        """How many ids have come in."""
        self.stopped = False
        """A stop string has come."""

    def push(self, token: int) -> str:
        """Take one id and return the text that is certain now; sets `stopped` at a stop string."""
        self.tokens += 1
        if token not in self._hidden:
            self._held += self._decoded(token)
        ends = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._emit(min(ends))
        unsure = max((overlap(self._held, stop) for stop in self._stop), default=0)
        return self._emit(len(self._held) - unsure)

    def flush(self) -> str:
        """Return what was held back, once no id will follow; a character that stayed half is dropped."""
        return self._emit(len(self._held))

    def _decoded(self, token: int) -> str:
        """Return the text that `token` completes."""
        self._recent.append(token)
        text: str = self._tokenizer.decode(self._recent, skip_special_tokens=False)
        whole = text.rstrip("\ufffd")  # without a character whose last bytes are still to come
        new, self._read = whole[self._read :], max(self._read, len(whole))
        if len(self._recent) > 2 * _CONTEXT and whole == text:
            self._recent = self._recent[-_CONTEXT:]
            self._read = len(self._tokenizer.decode(self._recent, skip_special_tokens=False))
        return new

    def _emit(self, size: int) -> str:
        piece, self._held = self._held[:size], self._held[size:]
        return piece


def overlap(text: str, mark: str) -> int:
    """Return the length of the longest end of `text` that begins `mark`, without being all of it."""
    return max((size for size in range(1, len(mark)) if text.endswith(mark[:size])), default=0)
