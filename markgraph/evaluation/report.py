"""Writes report.json, and report.html: one file that opens anywhere, with its pictures in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from markgraph.evaluation.log import Record, Subject, write_whole
from markgraph.json_text import json_text
from markgraph.retrieval.storage import storage_errors

EXAMPLES = 30
"""How many questions the page shows with everybody's answers: those that were answered worst."""
CONFIGS = "configs"
COLOURS = ("#4c6fc4", "#2f9e6e", "#c98a1b", "#a34fb0", "#d2553f", "#3a8ea5", "#6b7488")
WORDS = {
    "exact_match": "the answer is a reference, after SQuAD's normalisation",
    "contains": "a reference is in the answer word for word",
    "f1": "F1 of its words with those of the best reference",
    "rouge_l": "F of the longest common subsequence with the best reference",
    "bleu": "sentence BLEU with the references",
    "refusal": "refused where there is no answer, and nowhere else",
    "citation_precision": "cited passages that hold the answer",
    "citation_recall": "passages with the answer that are cited",
    "groundedness": "claims that the passages support",
    "latency": "seconds with a minus before them",
    "minus_bits_per_byte": "what foretelling a text costs, with a minus before it",
    "pair_accuracy": "pairs of which the better answer is likelier",
}


@dataclass(frozen=True)
class Bar:
    """A mean, with its interval; lengths are shares of the longest bar there may be."""

    label: str
    value: float
    length: float
    low: float
    high: float
    colour: str


def write_report(
    folder: Path, report: Mapping[str, Any], logs: Sequence[tuple[Subject, Sequence[Record]]]
) -> None:
    """Write both files; each appears whole or not at all.

    Raises:
        StorageError: they can't be written.
    """
    folder = Path(folder).expanduser()
    with storage_errors(folder):
        write_whole(folder / "report.json", json_text(report, indent=1))
        write_whole(folder / "report.html", html_of(report, logs, settings_in(folder)))


def keep_settings(folder: Path, key: str, text: str) -> None:
    """Write down what somebody who is asked was composed from."""
    with storage_errors(folder):
        write_whole(Path(folder).expanduser() / CONFIGS / f"{key}.json", text)


def settings_in(folder: Path) -> dict[str, str]:
    """Return the settings that were written down, by key."""
    return {file.stem: file.read_text("utf-8") for file in (folder / CONFIGS).glob("*.json")}


def html_of(
    report: Mapping[str, Any],
    logs: Sequence[tuple[Subject, Sequence[Record]]],
    settings: Mapping[str, str],
) -> str:
    """Return the page; whatever models and documents say is text in it, never markup."""
    from jinja2 import Environment

    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (files("markgraph.evaluation") / "report.html.jinja").read_text("utf-8")
    )
    return page.render(
        title=f"{report['suite']}: {report['dataset']}" if "dataset" in report else report["suite"],
        report=report,
        settings=settings,
        plots={metric: bars_of(report["rows"], metric) for metric in report["metrics"]},
        words=WORDS,
        examples=examples_of(logs),
        verdict=verdict_of,
    )


def bars_of(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Bar]:
    """Return a bar for each subject, all to one scale: as long as the longest, where that is more than 1."""
    scale = max([1.0, *(abs(bound) for row in rows for bound in row["intervals"][metric])])
    bars = []
    for at, row in enumerate(rows):
        mean, (low, high) = row[metric], row["intervals"][metric]
        length, first, last = (abs(each) / scale for each in (mean, low, high))
        bars.append(Bar(row["subject"], mean, length, first, last, COLOURS[at % len(COLOURS)]))
    return bars


def examples_of(logs: Sequence[tuple[Subject, Sequence[Record]]]) -> list[dict[str, Any]]:
    """Return the questions that were answered worst, with what everybody said; those whose text was kept."""
    asked: dict[str, dict[str, Any]] = {}
    for subject, records in logs:
        for record in records:
            if record["question"] is None:
                continue
            found = asked.setdefault(
                record["id"],
                {"question": record["question"], "references": record["references"], "answers": []},
            )
            found["answers"].append((subject["label"], record["answer"], record["scores"]))
    worst = sorted(asked.values(), key=lambda each: sum(scores["f1"] for *_, scores in each["answers"]))
    return worst[:EXAMPLES]


def verdict_of(figures: Mapping[str, float]) -> str:
    """Return what the interval of a difference says."""
    if figures["low"] > 0:
        return "better"
    return "worse" if figures["high"] < 0 else "no difference that these questions show"
