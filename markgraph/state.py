"""The channels of each graph: plain data only, so that a checkpoint outlives a renamed class."""

import operator
from typing import Annotated, Literal, NotRequired

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

GENERAL = "general"
"""The domain of a question that is near no other."""


class Passage(TypedDict):
    """A stretch of a document that the caller may read."""

    ids: list[str]
    """Ids of the chunks in the index that it was made of; none for what a tool said."""
    text: str
    source: str
    """Path or URI of the document."""
    title: str
    heading: list[str]
    """Titles of the sections around it, outermost first."""
    page: int | None
    page_breaks: list[int]
    """Offsets in the document at which further pages begin within the passage."""
    start: int
    """Offset of its first character in the document's text."""
    end: int
    score: float
    metadata: dict[str, str]


class Support(TypedDict):
    """A sentence of a passage."""

    passage: int
    """Index into `passages`, from 0."""
    start: int
    """Offset of its first character in the passage's text."""
    end: int
    quote: str
    score: float
    """Between 0 and 1."""


class CheckedClaim(TypedDict):
    """A sentence of the draft, and what was found behind it."""

    text: str
    supported: bool
    score: float
    support: Support | None
    reason: str
    """Why it is not supported; empty when it is."""


class Citation(TypedDict):
    """What a mark in the answer stands for."""

    mark: int
    """The number in the answer's `[1]`."""
    source: str
    title: str
    quote: str
    """The sentence that the answer rests on, word for word."""
    start: int
    """Offset of the quote in the document's text."""
    end: int
    page: int | None


class Verdict(TypedDict):
    """What validation found."""

    grounded: bool
    """Every sentence of the answer rests on the sentence it cites."""
    score: float
    """The weakest sentence's support, between 0 and 1."""
    unsupported: list[str]
    """Sentences of the model's last draft that no passage supports; none of them is in the answer."""


class Turn(TypedDict):
    """One question of a thread, with its answer."""

    question: str
    standalone: str
    topic: str
    """The last question of the thread that stood on its own."""
    answer: str
    grants: list[str]
    """What the caller might use and read then: who has lost some of it must not be shown the answer again."""
    sources: list[str]
    """Ids of the chunks that the answer cites: who can't read all of them now must not be shown it either."""


class Usage(TypedDict):
    """Tokens that the model read and wrote for one answer, retries included."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


def merge_timings(old: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    """Add up milliseconds by node; a turn starts afresh at `authorize`."""
    if "authorize" in new:
        return dict(new)
    return old | {name: round(old.get(name, 0.0) + spent, 1) for name, spent in new.items()}


class Message(TypedDict):
    """A message of a prompt, in the roles of chat templates."""

    role: Literal["system", "user", "assistant"]
    content: str


class Question(TypedDict):
    """What a client may send."""

    question: str
    """What the caller wants to know."""


class Answered(TypedDict):
    """What a question comes to."""

    answer: str
    """With a mark such as `[1]` behind each sentence that rests on a source."""
    refused: bool
    """True when no passage that the caller may read supports an answer."""
    citations: list[Citation]
    verdict: Verdict
    domain: str
    """The expert that the question was routed to."""
    model: str
    """The model that was asked."""
    timings: Annotated[dict[str, float], merge_timings]
    """Milliseconds by node."""
    usage: Usage


class Answer(Answered):
    """What a client gets."""

    run_id: str
    """What the audit log calls this run; who rates the answer names it."""


class Owned(TypedDict, total=False):
    """What every graph knows."""

    owner: str
    """`TENANT:SUBJECT` of whoever began the thread; nobody else may go on with it."""
    grants: list[str]
    """What the caller might do and read when the run began; it goes on only with all of it."""
    run_id: str
    """What the audit log calls this run, also when it goes on later."""
    config: str
    """Hash of the graph's config as the audit log keeps it; empty without a log."""


class Begins(Owned, total=False):
    """What a run begins with."""

    question: str
    """What is asked, in a graph that is asked something."""


class QAState(Question, Answered, Owned):
    """Everything a run of `qa` knows."""

    standalone: str
    """The question as one that needs no earlier turn."""
    topic: str
    """The last question of the thread that stood on its own."""
    passages: list[Passage]
    """What was retrieved, best first; marks count from 1 in this order."""
    excerpts: list[str]
    """What of each passage fits the model's budget, in the passages' order; empty strings are left out."""
    recent: list[Turn]
    """The newest turns that fit the model's budget, whole."""
    summary: str
    """What fits of the turns before those, in their own sentences; `history` keeps all of them."""
    recalled: list[str]
    """Ids of the chunks that the answers in `recent` and `summary` cite."""
    prompt: list[Message]
    """What the model was asked with last; what people say of the answer is kept with it."""
    draft: str
    """What the model wrote last."""
    claims: list[CheckedClaim]
    """The draft's sentences after validation, or the quoted sentences that replaced them."""
    evidence: list[Support]
    """Sentences of the passages, the likeliest answer to the question first."""
    done: list[str]
    """What tools have changed in this turn, in their own words."""
    attempts: int
    """How often the model has been asked in this turn."""
    history: Annotated[list[Turn], operator.add]
    """Earlier turns of the thread, oldest first."""


class AgentState(QAState):
    """Everything a run of `agent` knows."""

    messages: Annotated[list[AnyMessage], add_messages]
    """The exchange between model and tools in this turn."""
    declined: list[str]
    """Ids of the pending tool calls that a person did not allow."""


class IngestRequest(TypedDict):
    """What a client may send to `ingest`; the corpus is part of the config."""

    limit: int | None
    """Read at most so many documents; None reads all."""
    dry_run: NotRequired[bool]
    """Only say what would be done, and who would then read what."""


class Failure(TypedDict):
    """A document that could not be read."""

    source: str
    kind: str
    """The class of the error, or of its cause; `repeated` where another document has the same name."""
    reason: str


FAILURES = 100
"""How many failures a report names; the file with the details has all."""


def first_failures(old: list[Failure], new: list[Failure]) -> list[Failure]:
    """Return the first of both."""
    return (old + new)[:FAILURES]


class IngestReport(TypedDict):
    """What an ingestion did: counts, for there may be millions of documents."""

    added: Annotated[int, operator.add]
    """Documents that were not there before."""
    changed: Annotated[int, operator.add]
    """Documents that were read again."""
    removed: Annotated[int, operator.add]
    """Documents that have left the corpus, and the index with it."""
    permitted: Annotated[int, operator.add]
    """Documents that others may read now, without having been read again."""
    failed: Annotated[int, operator.add]
    """Documents that could not be read; of what was read before, the last good version stays."""
    unchanged: Annotated[int, operator.add]
    skipped: Annotated[int, operator.add]
    """Files of kinds that are not supported, and parts of the corpus that were ingested by themselves."""
    unreadable: Annotated[int, operator.add]
    """Documents of the corpus that nobody may read, because no rule opens them."""
    chunks: Annotated[int, operator.add]
    """How many chunks were written."""
    failures: Annotated[list[Failure], first_failures]
    """The first `FAILURES` of what failed."""
    waited: Annotated[float, operator.add]
    """Seconds of `index_documents` that went by waiting for documents to be read and chunked."""
    timings: Annotated[dict[str, float], merge_timings]
    """Milliseconds by node."""


class IngestState(IngestRequest, IngestReport, Owned):
    """Everything a run of `ingest` knows."""

    run: str
    """Names the plan of this run: which documents are to be read and which have left is in the ledger."""
    pending: int
    """How many documents are still to be read."""
    place: int
    """How far into the corpus they were read."""
