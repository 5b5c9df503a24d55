"""A smaller model with the same tokenizer guesses what the larger one will say.

Source: speculative decoding, Leviathan et al. 2023. Where the answer is sampled, the draft draws with the
random numbers that the answer's own sampler will draw with: two distributions that are near each other then
mostly give the same token (Daliri et al. 2025).
"""

from collections.abc import Sequence
from time import perf_counter

from markgraph.engines.native.decoder import Decoder, SequenceState
from markgraph.engines.native.pace import MARGIN, Pace, Probe
from markgraph.engines.native.request import Draft, Row

FEW = 16
"""Up to so many tokens are read for all requests at once; a longer text is read by itself first."""
MOST = 7
"""Guesses for one row in a step."""
FIRST_TRY = 3


class Drafting:
    """Decides how many guesses to ask a draft model for: none where it is measured to be slower."""

    def __init__(self, model: "DraftModel") -> None:
        self.model = model
        self._pace = Pace()
        self._probe = Probe()

    def guess(self, rows: Sequence[Row], room: int, pace: Pace) -> list[list[int]]:
        """Return guesses for each row, at most `room` of them.

        Args:
            pace: that of the model that guesses are made for.
        """
        count = min(room, self.count(rows, pace))
        if count <= 0:
            return [[] for _ in rows]
        self.model.prepare(rows)  # once for each request, so that its time says nothing of a step's
        began = perf_counter()
        guesses = self.model.guess(rows, count)
        self.note(rows, count, perf_counter() - began)
        return guesses

    def note(self, rows: Sequence[Row], count: int, seconds: float) -> None:
        """Take note of what it took to guess so many tokens for each row."""
        self._pace.note(len(rows), len(rows) * count, seconds)

    def count(self, rows: Sequence[Row], pace: Pace) -> int:
        """Return how many guesses to ask for each row; see `guess`."""
        b = len(rows)
        if not self._pace.knows(b):
            return FIRST_TRY
        chances = [row.draft_luck.rate for row in rows]
        best, rate = 0, MARGIN * b / pace.seconds(b, b)
        expected = float(b)
        for count in range(1, MOST + 1):
            expected += sum(chance**count for chance in chances)
            seconds = pace.seconds(b, b * (1 + count)) + self._pace.seconds(b, b * count)
            if expected / seconds > rate:
                best, rate = count, expected / seconds
        return FIRST_TRY if self._probe.due(pays=best > 0) else best


class DraftModel:
    """Guesses with a decoder, whose window may be shorter than that of the model that it guesses for."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def bytes_for(self, capacity: int) -> int:
        """Return the memory that it takes to guess for one request, in bytes."""
        # Guesses are read by a copy of a state that can't be taken back.
        copies = 2 if self._decoder.cumulative else 1
        return copies * self._decoder.bytes_for(min(capacity, self._decoder.window))

    def prepare(self, rows: Sequence[Row]) -> None:
        """Read the texts of rows that are new to it, or that it fell behind of."""
        for row in self._fitting(rows, 0):
            if row.draft is None:
                row.draft = Draft(self._decoder.open(min(row.request.capacity, self._decoder.window)))
            elif not self._decoder.cumulative:
                self._decoder.rewind(row.draft.state, row.draft.agreed(row.tokens))
            rest = row.tokens[row.draft.state.length :]
            if len(rest) > FEW:
                self._decoder.read(row.draft.state, rest[:-FEW])

    def guess(self, rows: Sequence[Row], count: int) -> list[list[int]]:
        """Return `count` guesses for each row; none where its text is too long for this model."""
        found: dict[Row, list[int]] = {row: [] for row in rows}
        fitting = self._fitting(rows, count)
        drafts = [row.draft for row in fitting if row.draft]
        if not drafts:
            return list(found.values())
        unread = [row.tokens[draft.state.length :] for row, draft in zip(fitting, drafts, strict=True)]
        read = self._decoder.verify([draft.state for draft in drafts], unread)  # of (l_i, v)
        logits = [each[-1] for each in read]
        states = [draft.state for draft in drafts]
        if self._decoder.cumulative:
            states = [self._copy(state, count) for state in states]
        samplers = [row.request.sampler.fork() for row in fitting]
        for place in range(count):
            picked = [sampler.pick(each).id for sampler, each in zip(samplers, logits, strict=True)]
            for row, token in zip(fitting, picked, strict=True):
                found[row].append(token)
            if place < count - 1:
                logits = list(self._decoder.step(states, picked))
        for row, draft in zip(fitting, drafts, strict=True):
            draft.confirmed, draft.guessed = len(row.tokens), found[row][:-1]
        return list(found.values())

    def _fitting(self, rows: Sequence[Row], count: int) -> list[Row]:
        return [row for row in rows if len(row.tokens) + count <= self._decoder.window]

    def _copy(self, state: SequenceState, room: int) -> SequenceState:
        copy = self._decoder.open(state.length + room)
        self._decoder.restore(copy, [self._decoder.save(state, 0)])
        return copy
