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
            permissions = self._permissions(said, caller)
            examples = as_kind(columns_of(said), kind) if said["messages"] else []
            if isinstance(permissions, str):
                leave_out(SOURCE, permissions, said["id"])
            elif not examples:
                reason = NOTHING_SAID.format(kind=kind) if said["messages"] else NO_PROMPT
                leave_out(SOURCE, reason, said["id"])
            for example in examples if isinstance(permissions, Permissions) else []:
                yield row_of(kind, example, SOURCE, said["documents"], permissions)
        if nothing:
            raise UsageError("Nobody has rated an answer yet. Rate some: markgraph feedback up thread=NAME.")

    def _permissions(self, said: Feedback, caller: Caller) -> Permissions | str:
        """Return who may read all that an opinion is about, or why that can't be said."""
        wanted = sorted(set(said["chunks"]))
        if not wanted:
            return UNFOUNDED
        chunks = self.index.get(wanted, caller)
        if len(chunks) < len(wanted):
            return GONE
        return together(chunk.permissions for chunk in chunks)


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
