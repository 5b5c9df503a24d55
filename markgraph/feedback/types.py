"""What is kept of a person's word on an answer."""

from typing import Literal

from typing_extensions import TypedDict

from markgraph.state import Message

Rating = Literal["up", "down"]
RATINGS: tuple[Rating, ...] = ("up", "down")


class Opinion(TypedDict):
    """What a person says of an answer of theirs."""

    rating: Rating
    correction: str | None
    """What the answer should have been, in their words."""
    comment: str | None


class Rated(TypedDict):
    """What a finished run knows of its answer: nothing in it is a client's word but the question."""

    run_id: str
    graph: str
    question: str
    answer: str
    """As it was shown, marks included."""
    refused: bool
    messages: list[Message]
    """What the model was asked with last; empty where it wasn't, and for an agent."""
    completion: str
    """What the model wrote to `messages`, if the answer was made of it; empty where the answer was quoted
    from the sources, or refused."""
    documents: list[str]
    """Sources of the passages that were read."""
    chunks: list[str]
    """Ids of every chunk whose text the prompt or the answer may hold, those of earlier turns included.
    Who may read them now the index says; a chunk that is not there any more was changed or removed."""
    model: str
    config: str
    """Hash of the graph's config, by which the audit log keeps it; empty without a log."""


class Feedback(Opinion, Rated):
    """A row of the store: who said it, when, of what."""

    id: str
    time: str
    """UTC, in ISO 8601."""
    tenant: str
    subject: str
