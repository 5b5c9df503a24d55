"""Makes rows of questions whose answer is in a known passage, in the prompt that the graph `qa` answers from.

The passage stands among others that look as if they had the answer. In some rows it is missing, and what is
to be learned is to say so. Only passages with the same permissions are shown together, so that a row is
closed to nobody who may read its answer.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from markgraph.compression.tokens import estimate
from markgraph.errors import ConfigError
from markgraph.evaluation.answers import contains
from markgraph.evaluation.beir import Text
from markgraph.evaluation.distractors import Distractors
from markgraph.retrieval.types import Chunk
from markgraph.security.permissions import Permissions
from markgraph.text import sentences, words
from markgraph.training.data.grounding import Grounding
from markgraph.training.data.prompts import Prompts
from markgraph.training.data.source import LeaveOut, digest, row_of
from markgraph.training.rows import Kind, Row
from markgraph.validation.refusals import REFUSAL

KINDS: tuple[Kind, ...] = ("chat", "task", "pair", "search")
UNSUPPORTED = "the validator finds no support for the answer"
ANSWERABLE = "the passages that are left may answer it"
ALONE = "there is no other passage to show"


class Exercise(NamedTuple):
    """A question, and the passage that answers it."""

    id: str
    question: str
    answers: tuple[str, ...]
    """Each is right."""
    forms: tuple[str, ...]
    """What may be said, without a mark: the first that the validator supports is learned.

    None: nothing is said, since somebody has judged that the passage answers it, and it is only searched for.
    """
    chunk: Chunk
    certain: bool = False
    """Whether it was made by taking a span out of the passage: then the validator has nothing to find out."""
    relevant: frozenset[str] = frozenset()
    """Documents that are never shown as if they did not answer it, beside that of its passage."""
    right: tuple[str, ...] = ()
    """Texts of these, as far as they are known."""


@dataclass(frozen=True)
class Shown:
    """What a prompt shows beside the passage with the answer."""

    passages: int = 3
    """Passages of a prompt at most, all of them together."""
    least: int | None = None
    """Passages of a prompt at least, where there are so many: chance chooses between; None: `passages`."""
    variants: int = 1
    """Rows of each question, each with passages of its own number and order; of a cloze there is one."""
    unanswerable: float = 0.2
    """The part of the questions whose passage is left out."""
    max_tokens: int = 600
    """What the passages may take together, estimated: as much as the graph `qa` gives them."""
    apart: float = 0.1
    """The part of the documents that is never shown with the others, so that it can be held back."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.passages < 1:
            raise ConfigError(f"shown.passages is {self.passages}. Allowed: 1 or more.")
        if self.least is not None and not 1 <= self.least <= self.passages:
            raise ConfigError(f"shown.least is {self.least}. Allowed: from 1 to {self.passages}, or null.")
        if self.variants < 1:
            raise ConfigError(f"shown.variants is {self.variants}. Allowed: 1 or more.")
        for name in ("unanswerable", "apart"):
            if not 0 <= (value := vars(self)[name]) < 1:
                raise ConfigError(f"shown.{name} is {value}. Allowed: 0 up to, but not including, 1.")

    def draw(self, what: str, id_: str) -> random.Random:
        """Return a source of chance that is the same for this seed and id, whatever else there is."""
        return random.Random(f"{self.seed} {what} {id_}")  # noqa: S311 -- no secret


@dataclass(frozen=True)
class Exercises:
    """Makes the rows of one collection of passages."""

    name: str
    chunks: Sequence[Chunk]
    """All that may be shown."""
    prompts: Prompts
    grounding: Grounding | None
    """Checks every answer; None takes the first form of each."""
    shown: Shown

    def rows(self, exercises: Iterable[Exercise], kind: Kind, leave_out: LeaveOut) -> Iterator[Row]:
        """Yield the rows of each exercise that the validator agrees with."""
        for exercise in (variant for each in exercises for variant in self._variants(each)):
            others = self._others(exercise)
            said = self._supported(exercise)
            if said is None:
                leave_out(self.name, UNSUPPORTED, exercise.id)
            elif kind == "search":
                yield self._search(exercise, others)
            elif not self._withheld(exercise):
                yield self._answered(kind, exercise, said, others)
            elif reason := self._objection(exercise, others):
                leave_out(self.name, reason, exercise.id)
            else:
                yield self._refused(kind, exercise, others)

    def _variants(self, exercise: Exercise) -> Iterator[Exercise]:
        """Yield the exercise under as many names as it has rows: chance goes by the name."""
        yield exercise
        for number in range(2, 1 if exercise.certain else self.shown.variants + 1):
            yield exercise._replace(id=f"{exercise.id} {number}")

    def _supported(self, exercise: Exercise) -> str | None:
        """Return what is to be said, or None if the validator would not let it through."""
        if not exercise.forms:
            return ""
        if self.grounding is None or exercise.certain:
            return exercise.forms[0]
        return self.grounding.first(exercise.question, exercise.forms, exercise.chunk)

    def _withheld(self, exercise: Exercise) -> bool:
        return self.shown.draw("withheld", exercise.id).random() < self.shown.unanswerable

    def _objection(self, exercise: Exercise, others: Sequence[Chunk]) -> str | None:
        """Return why a question can't be one without an answer."""
        if not others:
            return ALONE
        can = self.grounding is not None and self.grounding.can_answer(exercise.question, others)
        return ANSWERABLE if can else None

    def _answered(self, kind: Kind, exercise: Exercise, said: str, others: Sequence[Chunk]) -> Row:
        shown = [exercise.chunk, *others]
        self.shown.draw("order", exercise.id).shuffle(shown)
        right = marked(said, shown.index(exercise.chunk) + 1)
        wrong = [REFUSAL, *self._guesses(exercise, shown)]
        return self._asked(kind, exercise, shown, list(exercise.answers), right, wrong)

    def _refused(self, kind: Kind, exercise: Exercise, others: Sequence[Chunk]) -> Row:
        return self._asked(kind, exercise, others, [], REFUSAL, list(self._guesses(exercise, others)))

    def _asked(
        self,
        kind: Kind,
        exercise: Exercise,
        shown: Sequence[Chunk],
        reference: list[str],
        right: str,
        wrong: Sequence[str],
    ) -> Row:
        columns = {
            "messages": self.prompts(exercise.question, shown),
            "reference": reference,
            "completion": right,
            "chosen": right,
            "rejected": self.shown.draw("rejected", exercise.id).choice(wrong),
        }
        return self._row(kind, columns, exercise, shown)

    def _search(self, exercise: Exercise, others: Sequence[Chunk]) -> Row:
        columns = {
            "query": exercise.question,
            "positive": exercise.chunk.text,
            "negatives": [each.text for each in others],
        }
        row = self._row("search", columns, exercise, others)
        return {**row, "right": sorted(map(digest, exercise.right))} if exercise.right else row

    def _row(self, kind: Kind, columns: Mapping[str, Any], exercise: Exercise, shown: Sequence[Chunk]) -> Row:
        """Return a row; the question says something of its passage, too, where that is not shown."""
        documents = [exercise.chunk.source, *(each.source for each in shown)]
        return row_of(kind, columns, self.name, documents, exercise.chunk.permissions)

    def _guesses(self, exercise: Exercise, shown: Sequence[Chunk]) -> Iterator[str]:
        """Yield what a careless reader would say: of each wrong passage what is nearest to the question."""
        for mark, chunk in enumerate(shown, 1):
            if chunk is not exercise.chunk:
                yield marked(nearest_sentence(exercise.question, chunk.text), mark)

    def _others(self, exercise: Exercise) -> list[Chunk]:
        """Return passages of other documents that look as if they answered the question, and don't."""
        room = self.shown.max_tokens - estimate(exercise.chunk.text)
        least = self.shown.least or self.shown.passages
        most = self.shown.draw("passages", exercise.id).randint(least, self.shown.passages)
        found: list[Chunk] = []
        pool = self._pools[self._pool_of(exercise.chunk)]
        for text in pool(exercise.question, ()):
            chunk = self._by_id[text.id]
            if len(found) == most - 1:
                break
            if may_answer(exercise, chunk):
                continue
            if (length := estimate(chunk.text)) <= room:
                found.append(chunk)
                room -= length
        return found

    @cached_property
    def _by_id(self) -> Mapping[str, Chunk]:
        return {chunk.id: chunk for chunk in self.chunks}

    @cached_property
    def _pools(self) -> Mapping[Any, Distractors]:
        """Passages that may be shown together."""
        pools: dict[Any, list[Text]] = {}
        for chunk in self.chunks:
            pools.setdefault(self._pool_of(chunk), []).append(Text(chunk.id, chunk.title, chunk.text))
        return {key: Distractors(texts) for key, texts in pools.items()}

    def _pool_of(self, chunk: Chunk) -> tuple[Permissions, bool]:
        return chunk.permissions, self.shown.draw("apart", chunk.source).random() < self.shown.apart


def may_answer(exercise: Exercise, chunk: Chunk) -> bool:
    """Tell whether a passage is the exercise's own, was judged relevant too, or has an answer."""
    if chunk.source in {exercise.chunk.source, *exercise.relevant} or chunk.text == exercise.chunk.text:
        return True
    return bool(exercise.answers) and bool(contains(chunk.text, exercise.answers))


def marked(text: str, mark: int) -> str:
    """Return an answer with the number of its passage behind it."""
    return f"{text} [{mark}]"


def nearest_sentence(question: str, text: str) -> str:
    """Return the sentence of `text` that shares most words with `question`."""
    return nearest(question, [text[start:end] for start, end in sentences(text)])


def nearest(question: str, texts: Sequence[str]) -> str:
    """Return the first of the texts that share most words with `question`."""
    asked = set(words(question))
    return max(texts, key=lambda each: len(asked.intersection(words(each))))
