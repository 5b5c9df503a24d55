"""Makes questions and answers out of a collection's passages: by templates, and with a model that asks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from markgraph.engines.port import cache_scope
from markgraph.errors import EmptyIndexError
from markgraph.retrieval.types import Chunk, Index
from markgraph.security.caller import Caller, cache_scope_of
from markgraph.security.permissions import may_read
from markgraph.text import words
from markgraph.training.data import cloze
from markgraph.training.data.exercises import KINDS, Exercise, Exercises, Shown
from markgraph.training.data.grounding import Grounding
from markgraph.training.data.prompts import Prompts
from markgraph.training.data.source import LeaveOut, refuse_kind
from markgraph.training.data.templates import Draft, drafts, whole_sentences
from markgraph.training.rows import Kind, Row

AMBIGUOUS, NO_QUESTION = "several passages answer the question", "what the model wrote is no question"
PAGE = 1000
_ASK = (
    "Write one short question that is answered by this sentence, and by nothing else. Name what it is about. "
    "Write the question only.\n\n{sentence}"
)


@dataclass(frozen=True)
class Collection:
    """Rows from an index. Sees nothing but what the caller may read, and keeps that in memory."""

    index: Index
    embedder: Embeddings
    """What the validator measures with."""
    writer: BaseChatModel | None = None
    """Writes a question for a sentence of each passage; None: templates alone do."""
    clozes: int = 0
    """Questions that are made of each passage besides, by taking a span out of a sentence."""
    shown: Shown = field(default_factory=Shown)
    serving: Sequence[str] = ()
    """Overrides that the graph `qa` is served with."""

    def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterator[Row]:
        """Yield a row for each question that could be made, in the order of the passages' ids.

        Raises:
            EmptyIndexError: there is nothing that the caller may read.
            UsageError: such rows can't be made of passages.
        """
        refuse_kind(kind, KINDS, "A collection")
        chunks = sorted(self._chunks(caller), key=lambda chunk: (chunk.source, chunk.start))
        if not chunks:
            raise EmptyIndexError(
                "There are no documents to learn from that you may read. Ingest some: markgraph ingest PATH."
            )
        grounding = Grounding(self.embedder)
        exercises = Exercises(self.index.name, chunks, Prompts(self.serving), grounding, self.shown)
        asked = chain(
            self._exercises(chunks, caller, leave_out), cloze.exercises(chunks, self.clozes, self.shown)
        )
        yield from exercises.rows(asked, kind, leave_out)

    def _chunks(self, caller: Caller) -> Iterator[Chunk]:
        after = ""
        while page := self.index.scan(after, PAGE):
            after = page[-1].id
            yield from (chunk for chunk in page if may_read(caller, chunk.permissions))

    def _exercises(self, chunks: Sequence[Chunk], caller: Caller, leave_out: LeaveOut) -> Iterator[Exercise]:
        found = [draft for chunk in chunks for draft in drafts(chunk)]
        asked = Counter(draft.question for draft in found)
        for draft in found:
            if asked[draft.question] > 1:
                leave_out(self.index.name, AMBIGUOUS, draft.chunk.id)
            else:
                yield _exercise(draft)
        if self.writer is not None:
            yield from self._written(self.writer, chunks, caller, leave_out)

    def _written(
        self, writer: BaseChatModel, chunks: Sequence[Chunk], caller: Caller, leave_out: LeaveOut
    ) -> Iterator[Exercise]:
        """Yield a question of the model for one sentence of each passage."""
        for chunk in chunks:
            if not (choice := whole_sentences(chunk.text)):
                continue
            sentence = self.shown.draw("sentence", chunk.id).choice(choice)
            with cache_scope(cache_scope_of(caller)):
                reply = writer.invoke([HumanMessage(_ASK.format(sentence=sentence))])
            if question := question_in(reply.text, sentence):
                yield _exercise(Draft(question, (sentence,), chunk))
            else:
                leave_out(self.index.name, NO_QUESTION, chunk.id)


def question_in(text: str, sentence: str) -> str | None:
    """Return the question that `text` begins with, if it is one about `sentence`."""
    question = " ".join(text.partition("?")[0].split()).strip('"“”*- ') + "?"
    shared = set(words(question)).intersection(words(sentence))
    is_one = "?" in text and 3 <= len(question.split()) <= 30 and len(shared) >= 2
    return question if is_one else None


def _exercise(draft: Draft) -> Exercise:
    id_ = f"{draft.chunk.id} {draft.question}"
    return Exercise(id_, draft.question, draft.forms[:1], draft.forms, draft.chunk)
