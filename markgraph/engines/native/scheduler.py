"""Continuous batching: requests join and leave between two steps of the model.

One turn lets in whom there is memory for, reads a part of the prompts, and takes one step with all whose
prompt is read. Source: iteration-level scheduling, Yu et al. 2022 (Orca); chunked prefill, Agrawal et al.
2024 (Sarathi-Serve).

Does NOT include: threads. One calls `turn`; any may call `submit`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from torch import Tensor

from markgraph.engines.native.admission import Admission, Limits
from markgraph.engines.native.decoder import Decoder
from markgraph.engines.native.pipe import End
from markgraph.engines.native.prefix import PrefixCache
from markgraph.engines.native.request import Request, Row
from markgraph.engines.native.speculate import Speculator
from markgraph.engines.port import Token
from markgraph.errors import EngineError, MarkError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Load:
    """What a scheduler has to do."""

    running: int
    waiting: int
    cache_bytes: int
    """Memory that is set aside for the states of those that run."""


class Scheduler:
    """Reads prompts and takes steps for many requests with one decoder.

    Args:
        decoder: owned by the thread that calls `turn`.
        ends: the tokens that end an answer.
        prefixes: where beginnings that were read before are looked for; None to read everything.
        speculator: guesses what comes next; None for one token a step.
    """

    def __init__(
        self,
        decoder: Decoder,
        ends: frozenset[int],
        limits: Limits,
        prefixes: PrefixCache | None = None,
        speculator: Speculator | None = None,
    ) -> None:
        self.decoder = decoder
        self.prefixes = prefixes
        self._ends = ends
        self._limits = limits
        self._speculator = speculator
        self._admission = Admission(limits, self._bytes_for)
        self._running: list[Row] = []

    @property
    def load(self) -> Load:
        """Return what there is to do now."""
        running = tuple(self._running)
        return Load(len(running), self._admission.waiting, sum(row.request.bytes for row in running))

    def submit(self, request: Request) -> None:
        """Put `request` in the queue; see `Admission.submit` for what it may be refused for."""
        self._admission.submit(request)

    def close(self) -> None:
        """End all requests, and refuse further ones."""
        for request in [*self._admission.close(), *(row.request for row in self._running)]:
            request.say(End(EngineError("The model was closed before this answer was complete. Ask again.")))
        self._running = []
        if self.prefixes is not None:
            self.prefixes.close()

    def turn(self) -> bool:
        """Do a bit of work for everybody; return whether there was any."""
        for row in [row for row in self._running if row.request.cancelled]:
            self._leave(row)
        for request in self._admission.admit(self._running):
            self._let_in(request)
        read = self._read_prompts()
        return self._step() or read

    def _bytes_for(self, capacity: int) -> int:
        guessing = self._speculator.bytes_for(capacity) if self._speculator else 0
        return self.decoder.bytes_for(capacity) + guessing

    def _let_in(self, request: Request) -> None:
        try:
            state = self.decoder.open(request.capacity, request.sampling.adapter)
        except Exception as error:  # no such adapter, or no memory
            request.say(End(_told(error)))
        else:
            self._running.append(Row(request, state))

    def _read_prompts(self) -> bool:
        """Read a chunk of prompts: the short ones that fit in half of it, then the others as they came.

        While nobody waits for a next token, it is twice as long: that is read a little faster.
        """
        readers = [row for row in self._running if row.unread > 1]
        left = most = self._limits.prefill_chunk * (1 if self._ready() else 2)
        for row in sorted(readers, key=lambda row: row.unread):
            if row.unread > left - most // 2:
                break
            left -= self._read(row, row.unread)
        for row in readers:
            while left > 0 and row.unread > 1 and not row.ended:
                left -= self._read(row, left)
        return bool(readers)

    def _ready(self) -> list[Row]:
        """Return those whose prompt is read, and whose consumer keeps up."""
        return [row for row in self._running if row.unread == 1 and not row.request.paused]

    def _read(self, row: Row, most: int) -> int:
        """Read at most so many tokens of `row`, and return how many."""
        read = 0
        with self._blamed([row]):
            if not row.state.length:
                self._restore(row)
            if self.decoder.cumulative:  # what is kept is found again where chunks always end alike
                most = min(most, self._limits.prefill_chunk - row.state.length % self._limits.prefill_chunk)
            ids = row.tokens[row.state.length :][:most]
            read = len(ids)
            logits = self.decoder.read(row.state, ids)  # (v,)
            complete = not row.unread
            if complete:
                self._choose(row, [], logits[None], [int(logits.argmax())])
            if complete or self.decoder.cumulative:
                self._keep(row)
            if row.ended:
                self._drop([row])
        return read

    def _step(self) -> bool:
        """Read one token, and perhaps guesses, for as many rows as may be; return whether there were any."""
        ready = self._ready()
        rows = ready[: self._limits.max_batch]
        if len(rows) < len(ready):  # the others come first next time
            self._running = [row for row in self._running if row not in rows] + rows
        if rows:
            with self._blamed(rows):
                self._advance(rows)
        return bool(rows)

    def _advance(self, rows: list[Row]) -> None:
        speculation = self._speculator.guess(rows) if self._speculator else None
        guesses = speculation.guesses if speculation else [[] for _ in rows]
        began = perf_counter()
        states, last = [row.state for row in rows], [row.tokens[-1] for row in rows]
        if any(guesses):
            read = [[token, *guess] for token, guess in zip(last, guesses, strict=True)]
            logits = self.decoder.verify(states, read)  # of (l_i, v)
            best = [each.argmax(-1).tolist() for each in logits]
        else:
            stepped = self.decoder.step(states, last)  # (b, v)
            logits = list(stepped[:, None])
            best = [[token] for token in stepped.argmax(-1).tolist()]
        for row, guess, seen, likeliest in zip(rows, guesses, logits, best, strict=True):
            with self._blamed([row]):
                self._choose(row, guess, seen, likeliest)
        if self._speculator and speculation:
            self._speculator.learn(speculation, perf_counter() - began)  # with what it took to go back
        for row in [row for row in rows if row.ended]:
            self._leave(row)

    def _choose(self, row: Row, guess: list[int], logits: Tensor, likeliest: list[int]) -> None:
        """Choose what follows from `logits` (l + 1, v) after each token read, as far as `guess` (l) is right.

        The state then forgets the guesses that are not.
        """
        request = row.request
        for place in range(len(guess) + 1):
            token = Token(likeliest[place]) if request.plain else request.sampler.pick(logits[place])
            row.ended = token.id in self._ends
            if not row.ended:
                request.tokens.append(token.id)
                request.say(token)
                row.ended = not request.left
            if row.ended or place == len(guess) or token.id != guess[place]:
                break
        if place < len(guess):
            self.decoder.rewind(row.state, row.state.length - len(guess) + place)
        if row.ended:
            request.say(End())

    def _leave(self, row: Row) -> None:
        """Take out a row that has ended or is no longer wanted; a conversation may go on from it."""
        self._drop([row])
        if row.unread <= 1:
            self._keep(row)

    def _drop(self, rows: list[Row]) -> None:
        self._running = [row for row in self._running if row not in rows]

    def _restore(self, row: Row) -> None:
        """Start from the longest beginning that was read before, even if only just, for another request."""
        request = row.request
        if self.prefixes is not None:
            found = self.prefixes.longest(request.tokens, request.scope, request.sampling.adapter)
            if found:
                self.decoder.restore(row.state, found)

    def _keep(self, row: Row) -> None:
        request = row.request
        if self.prefixes is not None:
            with self._blamed([row]):
                self.prefixes.keep(request.tokens, row.state, request.scope, request.sampling.adapter)

    @contextmanager
    def _blamed(self, rows: list[Row]) -> Iterator[None]:
        """End the answers of `rows` with what goes wrong in this block; the others go on."""
        try:
            yield
        except Exception as error:
            for row in rows:
                row.ended = True
                row.request.say(End(_told(error)))
            self._drop(rows)


def _told(error: Exception) -> MarkError:
    """Return `error` as the consumer is to see it; each gets one of its own."""
    if isinstance(error, MarkError):
        _forget_frames(error)
        return error
    logger.error("A step of the model failed.", exc_info=error)
    failure = EngineError(
        f"The model failed while it computed this answer: {type(error).__name__}: {error}. "
        "Other answers are not affected. Ask again; if it happens again, choose another engine."
    )
    _forget_frames(error)
    failure.__cause__ = error
    return failure


def _forget_frames(error: BaseException) -> None:
    """Take the tracebacks from `error` and from what it came from: their frames hold on to states."""
    chain: list[BaseException] = [error]
    while chain:
        one = chain.pop()
        one.__traceback__ = None
        chain += [other for other in (one.__cause__, one.__context__) if other and other.__traceback__]
