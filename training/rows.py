"""Rows that models learn from: plain data, with where each comes from and who may read that."""

from typing import Literal, NotRequired

from typing_extensions import TypedDict

Kind = Literal["chat", "task", "pair", "rated", "text", "search", "entailment"]
"""What a method learns from. Which columns a row of each kind has beside `Row`'s own:

    chat        messages, completion                what to say
    task        messages, reference                 what a right answer is; the model says it itself
    pair        messages, chosen, rejected          which of two is better
    rated       messages, completion, good          whether somebody liked it
    text        text                                anything to go on from
    search      query, positive, negatives          which passage answers a question
    entailment  premise, hypothesis, label          whether one follows from the other
"""


class Message(TypedDict):
    """A turn of a prompt, in the roles of chat templates."""

    role: Literal["system", "user", "assistant"]
    content: str


class Row(TypedDict):
    """One example. It is kept as one JSON line."""

    id: str
    """SHA-256 of all that is learned from, in hexadecimal: the same row has the same id everywhere."""
    source: str
    """What it was taken from: an index, a file, feedback."""
    documents: list[str]
    """Ids of the documents whose text is in it."""
    readers: list[str]
    """Who may read all of them: atoms as in the index (public, g:GROUP, u:SUBJECT, ...). Empty: nobody."""
    classification: NotRequired[int]
    """The highest level in `CLASSIFICATIONS` among them; none is the lowest."""
    tenant: NotRequired[str]
    """Whose they are; none: of whoever brought the row along."""
    messages: NotRequired[list[Message]]
    """The prompt; it ends with what a user says."""
    completion: NotRequired[str]
    reference: NotRequired[list[str]]
    """Answers that are right, each of them; none: the prompt's passages do not answer it."""
    chosen: NotRequired[str]
    rejected: NotRequired[str]
    good: NotRequired[bool]
    text: NotRequired[str]
    query: NotRequired[str]
    positive: NotRequired[str]
    negatives: NotRequired[list[str]]
    right: NotRequired[list[str]]
    """SHA-256 of other passages that answer the query: where rows lend each other theirs, none is wrong."""
    premise: NotRequired[str]
    hypothesis: NotRequired[str]
    label: NotRequired[Literal[0, 1]]
    """1: the hypothesis follows from the premise."""
