"""Keeps how each question was answered and scored, so that an evaluation which was interrupted can go on."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from typing_extensions import TypedDict

from markgraph.retrieval.storage import storage_errors


class Record(TypedDict):
    """How a question was answered, and how good that is."""

    id: str
    question: str | None
    """None where texts are not kept."""
    references: list[str] | None
    answer: str | None
    answerable: bool
    refused: bool
    route: str
    """The expert that it was routed to; empty without a router."""
    seconds: float
    input_tokens: int
    output_tokens: int
    scores: dict[str, float]


WITHOUT_TEXTS = {"question": None, "references": None, "answer": None}


class Subject(TypedDict):
    """What was asked."""

    label: str
    """What the report calls it."""
    key: str
    """Changes with its settings."""
    began: str
    """When it was asked first."""


@dataclass(frozen=True)
class AnswerLog:
    """A file with a line for the subject, and then one for each question."""

    folder: Path
    """Of the evaluation: those who were asked the same questions are in the same folder."""
    label: str = "config"
    key: str = ""
    texts: bool = True
    """Keep questions and answers, not only figures."""

    @property
    def file(self) -> Path:
        """Where this subject's answers are."""
        plain = "".join(each if each.isalnum() or each in "-._" else "-" for each in self.label)[:80]
        return Path(self.folder).expanduser() / "answers" / f"{plain}-{self.key[:8]}.jsonl"

    def begin(self, *, resume: bool) -> list[str]:
        """Return the ids of the questions that were answered before; without `resume` forget them."""
        if resume and self.file.exists():
            return [record["id"] for record in read_log(self.file)[1]]
        subject = Subject(
            label=self.label,
            key=self.key,
            began=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        with storage_errors(self.file):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(subject, ensure_ascii=False), "utf-8")
        return []

    def add(self, records: Iterable[Record]) -> None:
        """Append what was answered."""
        with storage_errors(self.file), self.file.open("a", encoding="utf-8") as lines:
            for record in records:
                kept = record if self.texts else record | WITHOUT_TEXTS
                lines.write("\n" + json.dumps(kept, ensure_ascii=False))


def read_log(file: Path) -> tuple[Subject, list[Record]]:
    """Return who was asked, and each record once; a torn line is left out: its question is asked again."""
    first, *lines = file.read_text("utf-8").split("\n")
    records: dict[str, Record] = {}
    for line in lines:
        try:
            record: Record = json.loads(line)
        except ValueError:
            continue
        records[record["id"]] = record
    return json.loads(first), list(records.values())


def logs_of(folder: Path) -> list[tuple[Subject, list[Record]]]:
    """Return all who were asked in an evaluation, in that order; no two labels are the same."""
    found = [read_log(file) for file in sorted((Path(folder).expanduser() / "answers").glob("*.jsonl"))]
    labels = Counter(subject["label"] for subject, _ in found)
    for subject, _ in found:
        if labels[subject["label"]] > 1:
            subject["label"] += f" ({subject['key'][:6]})"
    return sorted(found, key=lambda each: (each[0]["began"], each[0]["label"]))
