"""Takes rows from what people said of answers: thumbs, and what the answer should have been."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from markgraph.errors import ConfigError, UsageError
from markgraph.feedback.store import FeedbackStore
from markgraph.feedback.types import Feedback
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions, together
from markgraph.training.data.layouts import as_kind
from markgraph.training.data.source import LeaveOut, refuse_kind, row_of
from markgraph.training.rows import Kind, Row

KINDS: tuple[Kind, ...] = ("chat", "task", "pair", "rated")
SOURCE = "feedback"
GONE = "a passage behind it was changed, removed, or closed to the caller"
UNFOUNDED = "it rests on no passage, so nobody is known who may read it"
NO_PROMPT = "its prompt is not known"
NOTHING_SAID = "nothing in it makes a row of kind {kind}"


@dataclass(frozen=True)
class Opinions:
    """Makes of each opinion what it holds: a thumb is `rated`, a correction goes over what the model wrote.

    A row may be read by whoever may read all passages that its prompt and answer were made of, now.
    """

    store: FeedbackStore | None
    index: Index
    """Knows who may read what."""

    def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterator[Row]:
        """Yield the rows of what was said last of each answer, oldest first.

        Raises:
            ConfigError: no feedback is kept.
            UsageError: nobody of the caller's tenant has said anything, or not in a way that gives such rows.
        """
        refuse_kind(kind, KINDS, "Feedback")
        if self.store is None:
            raise ConfigError("No feedback is kept with ratings=none. Set ratings=sqlite.")
        nothing = True
        for said in self.store.latest(caller.tenant):
            nothing = False
            try:
                yield from self._made(said, kind, caller)
            except _Unfit as reason:
                leave_out(SOURCE, str(reason), said["id"])
        if nothing:
            raise UsageError("Nobody has rated an answer yet. Rate some: markgraph feedback up thread=NAME.")

    def _made(self, said: Feedback, kind: Kind, caller: Caller) -> list[Row]:
        """Return what an opinion gives, or say why it gives nothing."""
        permissions = self._permissions(said, caller)
        if not said["messages"]:
            raise _Unfit(NO_PROMPT)
        if not (examples := as_kind(columns_of(said), kind)):
            raise _Unfit(NOTHING_SAID.format(kind=kind))
        return [row_of(kind, each, SOURCE, said["documents"], permissions) for each in examples]

    def _permissions(self, said: Feedback, caller: Caller) -> Permissions:
        """Return who may read all that an opinion is about."""
        wanted = sorted(set(said["chunks"]))
        if not wanted:
            raise _Unfit(UNFOUNDED)
        chunks = self.index.get(wanted, caller)
        if len(chunks) < len(wanted):
            raise _Unfit(GONE)
        return together(chunk.permissions for chunk in chunks)


class _Unfit(Exception):  # noqa: N818 -- nobody else sees it
    """Nothing is to be learned from an opinion; says why."""


def columns_of(said: Feedback) -> dict[str, Any]:
    """Return what an opinion says, under the names that rows have."""
    good, correction, written = said["rating"] == "up", said["correction"], said["completion"]
    prompt: dict[str, Any] = {"messages": said["messages"]}
    if correction and written and correction != written:
        return prompt | {"reference": [correction], "chosen": correction, "rejected": written}
    if correction:  # what was shown was quoted, or a refusal: no words of the model's
        return prompt | {"reference": [correction], "completion": correction, "good": True}
    rated = prompt | {"completion": written, "good": good}
    return rated | ({"reference": [said["answer"]]} if good and not said["refused"] else {})
