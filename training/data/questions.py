"""Takes questions over a corpus of passages, in the layout of BEIR: SQuAD, for example.

To search with, a question and the passage that was judged relevant are enough; all else needs answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from langchain_core.embeddings import Embeddings

from markgraph.errors import ConfigError
from markgraph.evaluation.answers import contains
from markgraph.evaluation.beir import Dataset, Text, answers_of, known_answers, load_dataset
from markgraph.retrieval.types import Chunk
from markgraph.security.caller import Caller
from markgraph.security.classification import CLASSIFICATIONS, level_of
from markgraph.security.permissions import check_readers
from markgraph.text import sentences
from markgraph.training.data import cloze
from markgraph.training.data.exercises import KINDS, Exercise, Exercises, Shown, nearest
from markgraph.training.data.grounding import Grounding
from markgraph.training.data.prompts import Prompts
from markgraph.training.data.source import LeaveOut, refuse_kind
from markgraph.training.rows import Kind, Row

FORMS = ("answer", "sentence")
NO_ANSWER, NO_PASSAGE = "no answer is known", "no passage has the answer in one sentence"
NOT_THERE = "the corpus has no text of what is relevant"


@dataclass(frozen=True)
class Questions:
    """Reads corpus.jsonl, queries.jsonl with `answers`, and qrels.tsv; a document is a passage."""

    embedder: Embeddings
    """What the validator measures with."""
    path: str | None = None
    readers: Sequence[str] | None = None
    """Who may read the corpus; None: nobody is known to."""
    classification: str = CLASSIFICATIONS[0]
    shown: Shown = field(default_factory=Shown)
    say: Sequence[str] = FORMS
    """How an answer may be put, in the order in which the validator is asked: short, or in a sentence."""
    checked: bool = True
    """Leave out what the validator doesn't support; it takes about a tenth of a second a question."""
    clozes: int = 0
    """Questions that are made of each passage besides, by taking a span out of a sentence."""
    serving: Sequence[str] = ()
    """Overrides that the graph `qa` is served with."""

    def __post_init__(self) -> None:
        if self.readers is not None:
            check_readers(self.readers)
        level_of(self.classification)
        if not self.say or not set(self.say) <= set(FORMS):
            raise ConfigError(f"data.say is {list(self.say)}. Allowed: one or both of {', '.join(FORMS)}.")

    def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterator[Row]:
        """Yield a row for each question, in the order of the queries.

        Raises:
            ConfigError: no path is set.
            UsageError: the data set is missing or malformed, or such rows can't be made of questions.
        """
        refuse_kind(kind, KINDS, "Questions over a corpus")
        if self.path is None:
            raise ConfigError("data.path is not set. Set data.path=FOLDER with corpus, queries and qrels.")
        dataset = load_dataset(Path(self.path))
        chunks = {each.id: self._chunk(each, caller.tenant) for each in dataset.corpus}
        exercises_of = self._exercises
        if kind == "search":
            chunks = {id_: chunk for id_, chunk in chunks.items() if chunk.text.strip()}
            exercises_of = self._searches
        grounding = Grounding(self.embedder) if self.checked else None
        exercises = Exercises(
            dataset.name, list(chunks.values()), Prompts(self.serving), grounding, self.shown
        )
        asked = chain(
            exercises_of(dataset, chunks, leave_out),
            cloze.exercises(chunks.values(), self.clozes, self.shown),
        )
        yield from exercises.rows(asked, kind, leave_out)

    def _chunk(self, document: Text, tenant: str) -> Chunk:
        return Chunk(
            text=document.text,
            source=document.id,
            title=document.title,
            start=0,
            end=len(document.text),
            tenant=tenant,
            readers=tuple(self.readers or ()),
            classification=level_of(self.classification),
        )

    def _exercises(
        self, dataset: Dataset, chunks: dict[str, Chunk], leave_out: LeaveOut
    ) -> Iterator[Exercise]:
        right = answers_of(Path(str(self.path)))
        for query in dataset.queries:
            answers = right.get(query.id, ())
            if not answers:
                leave_out(dataset.name, NO_ANSWER, query.id)
                continue
            judged = [id_ for id_, grade in dataset.qrels[query.id].items() if grade > 0 and id_ in chunks]
            for chunk in (chunks[id_] for id_ in judged):
                if sentence := sentence_with(chunk.text, query.text, answers):
                    said = {"answer": answers[0], "sentence": sentence}
                    yield Exercise(
                        query.id, query.text, answers, tuple(said[form] for form in self.say), chunk
                    )
                    break
            else:
                leave_out(dataset.name, NO_PASSAGE, query.id)

    def _searches(
        self, dataset: Dataset, chunks: dict[str, Chunk], leave_out: LeaveOut
    ) -> Iterator[Exercise]:
        """Yield each question with its best passage; what has a known answer is not shown as wrong."""
        known = known_answers(Path(str(self.path)))
        for query in dataset.queries:
            grades = {id_: grade for id_, grade in dataset.qrels[query.id].items() if grade > 0}
            if not (there := [id_ for id_ in grades if id_ in chunks]):
                leave_out(dataset.name, NOT_THERE, query.id)
                continue
            best = max(there, key=lambda id_: grades[id_])
            yield Exercise(
                query.id,
                query.text,
                known.get(query.id, ()),
                (),
                chunks[best],
                relevant=frozenset(grades),
                right=tuple(chunks[id_].text for id_ in there if id_ != best),
            )


def sentence_with(text: str, question: str, answers: Sequence[str]) -> str | None:
    """Return the sentence of `text` with an answer that shares most words with `question`."""
    spans = [text[start:end] for start, end in sentences(text)]
    holding = [each for each in spans if contains(each, answers)]
    return nearest(question, holding) if holding else None
