"""Reads questions with their answers, and chooses the passages that a model is to answer each from.

Two layouts:

    a folder   as BEIR has it (see `beir.py`), with a list `answers` in each row of queries.jsonl
    a file     of JSON lines {"question": "...", "answers": ["..."]}; with "passages", a list of texts or of
               {"id", "title", "text"}, and "gold", the places, from 1, of those that hold the answer

No answers: the question can't be answered. In a folder, `unanswerable` says which share of the documents is
withheld: no model sees them, so that questions about them can't be answered either.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from markgraph.errors import ConfigError, SealError, UsageError
from markgraph.evaluation.answers import contains
from markgraph.evaluation.beir import Dataset, Text, answers_of, load_dataset, read_rows
from markgraph.evaluation.distractors import Distractors
from markgraph.retrieval.bodies import from_text

LAYOUT = 'Expected a folder as BEIR has it, or a file of lines {"question": "...", "answers": ["..."]}.'


class Question(NamedTuple):
    """A question, what is right, and what it is to be answered from."""

    id: str
    text: str
    answers: tuple[str, ...]
    """Each is right; none where it can't be answered."""
    gold: frozenset[str]
    """The documents that hold the answer."""
    passages: tuple[Text, ...]
    """What a model is given, in this order; none where it has to search itself."""
    about: frozenset[str] = frozenset()
    """The documents that hold the answer, those that are withheld too."""


@dataclass(frozen=True)
class Questions:
    """The questions of a data set, the same ones for every model that is asked them."""

    path: str | None
    """A folder or a file."""
    limit: int | None = None
    """So many of them, drawn by `seed`."""
    passages: int = 3
    """How many passages of a folder a model is given; one of them has the answer, if there is one."""
    unanswerable: float = 0.2
    """Which share of a folder's documents is withheld."""
    seed: int = 0
    unseen_by: str | None = None
    """Rows of a training: questions about documents that it learned from are left out."""

    def __post_init__(self) -> None:
        if not 0 <= self.unanswerable < 1:
            raise ConfigError(f"unanswerable is {self.unanswerable}. Allowed: 0 or more, and less than 1.")
        if self.passages < 1:
            raise ConfigError(f"passages is {self.passages}. Allowed: 1 or more.")

    @cached_property
    def by_id(self) -> dict[str, Question]:
        """The questions, in the order in which they are asked.

        Raises:
            UsageError: the data set is missing, malformed, or has no question.
        """
        found = _from_file(self._place) if self.dataset is None else self._from_folder(self.dataset)
        learned = _learned(self.unseen_by)
        fresh = [each for each in found if learned.isdisjoint(each.about)]
        chosen = sorted(fresh, key=lambda each: self._draw("order", each.id).random())[: self.limit]
        if not chosen:
            raise UsageError(f"{self._place} has no question to ask. {LAYOUT}")
        return {each.id: each for each in chosen}

    @cached_property
    def dataset(self) -> Dataset | None:
        """The documents and judgements of a folder, without what is withheld; None for a file."""
        place = self._place
        if place.is_file():
            return None
        whole = load_dataset(place)
        withheld = {each.id for each in whole.corpus if self._withholds(each.id)}
        corpus = [each for each in whole.corpus if each.id not in withheld]
        told = f"{whole.fingerprint} {sorted(withheld)}"
        return replace(whole, corpus=corpus, fingerprint=sha256(told.encode()).hexdigest())

    @property
    def fingerprint(self) -> str:
        """What changes with the questions, their passages, and what is right."""
        return sha256(repr(list(self.by_id.values())).encode()).hexdigest()

    @property
    def name(self) -> str:
        """What the data set is called."""
        return self.dataset.name if self.dataset else self._place.stem

    @property
    def _place(self) -> Path:
        if self.path is None:
            raise UsageError(f"Say what to ask: dataset=FOLDER or dataset=FILE.jsonl. {LAYOUT}")
        place = Path(self.path).expanduser()
        if not place.exists():
            raise UsageError(f"There is nothing at dataset={self.path}. {LAYOUT}")
        return place

    def _from_folder(self, dataset: Dataset) -> Iterator[Question]:
        right = answers_of(Path(str(self.path)).expanduser())
        documents = {each.id: each for each in dataset.corpus}
        distractors = Distractors(dataset.corpus)
        for query in dataset.queries:
            grades = dataset.qrels[query.id]
            if query.id not in right:
                continue
            gold = [documents[id_] for id_, grade in grades.items() if grade > 0 and id_ in documents]
            shown = gold[: self.passages]
            about = frozenset(id_ for id_, grade in grades.items() if grade > 0)
            others = distractors(query.text, about)
            fit = (each for each in others if not contains(each.text, right[query.id]))
            shown += [each for each, _ in zip(fit, range(self.passages - len(shown)), strict=False)]
            self._draw("passages", query.id).shuffle(shown)
            ids = frozenset(each.id for each in gold)
            yield Question(query.id, query.text, right[query.id] if gold else (), ids, tuple(shown), about)

    def _withholds(self, document: str) -> bool:
        return self._draw("withheld", document).random() < self.unanswerable

    def _draw(self, what: str, id_: str) -> random.Random:
        """Return a source of chance that is the same for this seed and id, whatever else is asked."""
        return random.Random(f"{self.seed} {what} {id_}")  # noqa: S311 -- no secret


def _from_file(file: Path) -> Iterator[Question]:
    seen: dict[str, int] = {}
    for number, row in read_rows(file):
        where, id_ = f"{file}, line {number}", str(row.get("id", number))
        text, answers = row.get("question"), row.get("answers")
        if not isinstance(text, str) or not _is_texts(answers):
            raise UsageError(f"{where}: expected a question and a list of answers; got {', '.join(row)}.")
        if id_ in seen:
            raise UsageError(
                f"{where}: the id {id_!r} is that of line {seen[id_]}, too. Make ids unique; a line without "
                "one has its number."
            )
        seen[id_] = number
        passages = tuple(_passages(row.get("passages") or [], where))
        right = tuple(answers or ())
        gold = _gold(row.get("gold") or [], passages, where) or frozenset(
            each.id for each in passages if right and contains(each.text, right)
        )
        yield Question(id_, text, right, gold, passages, gold)


def _gold(given: Any, passages: Sequence[Text], where: str) -> frozenset[str]:
    """Return the ids of the passages in these places."""
    places = range(1, len(passages) + 1)
    if not isinstance(given, list) or not all(type(at) is int and at in places for at in given):
        allowed = f"whole numbers from 1 to {len(passages)}" if passages else "none, for it has no passages"
        raise UsageError(f"{where}: gold is {given!r}. Allowed: {allowed}.")
    return frozenset(passages[at - 1].id for at in given)


def _passages(given: Any, where: str) -> Iterator[Text]:
    if not isinstance(given, list):
        raise UsageError(f"{where}: expected a list of passages; got {given!r:.60}. {LAYOUT}")
    for number, each in enumerate(given, 1):
        row = each if isinstance(each, dict) else {"text": each}
        if not isinstance(row.get("text"), str):
            raise UsageError(f"{where}: passage {number} has no text. {LAYOUT}")
        yield Text(str(row.get("id", number)), str(row.get("title") or ""), row["text"])


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _learned(file: str | None) -> set[str]:
    """Return the documents of a training's rows."""
    if file is None:
        return set()
    place = Path(file).expanduser()
    with suppress(OSError), place.open(encoding="utf-8") as lines:
        if from_text(next(lines, "").rstrip("\n")):
            raise SealError(
                f"The rows in {place} are sealed. Name a file in clear, with the documents to leave out in "
                'lines such as {"documents": ["ID"]}; `markgraph models show NAME output=json` lists them.'
            )
    return {str(id_) for _, row in read_rows(place) for id_ in row.get("documents", [])}
