"""Sums up who answered how well: a row for each, and how each stands to the first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from markgraph.evaluation.comparison import difference
from markgraph.evaluation.intervals import interval_of
from markgraph.evaluation.log import Record, Subject
from markgraph.evaluation.retrieval import percentile
from markgraph.evaluation.scoring import METRICS

Logs = Sequence[tuple[Subject, Sequence[Record]]]


def report_of(logs: Logs, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is written to report.json: settings, a row for each subject, differences to the first."""
    asked = [(subject, records) for subject, records in logs if records]
    rows = [row_of(subject, records) for subject, records in asked]
    against = asked[0][1] if asked else []
    differences = [
        {"subject": subject["label"], "to": asked[0][0]["label"], **_differences(against, records)}
        for subject, records in asked[1:]
    ]
    return {**settings, "rows": rows, "differences": differences}


def row_of(subject: Subject, records: Sequence[Record]) -> dict[str, Any]:
    """Return the figures of one subject."""
    row: dict[str, Any] = {"subject": subject["label"], "key": subject["key"], "questions": len(records)}
    intervals = {}
    for metric in METRICS:
        interval = interval_of([record["scores"][metric] for record in records])
        row[metric] = round(interval.mean, 4)
        intervals[metric] = [round(interval.low, 4), round(interval.high, 4)]
    times = sorted(1000 * record["seconds"] for record in records)
    written = sum(record["output_tokens"] for record in records)
    return row | {
        "p50_ms": round(percentile(times, 50)),
        "p95_ms": round(percentile(times, 95)),
        "tokens_per_s": round(1000 * written / max(sum(times), 1e-6), 1),
        "input_tokens": sum(record["input_tokens"] for record in records),
        "output_tokens": written,
        "answerable": _part(record for record in records if record["answerable"]),
        "unanswerable": _part(record for record in records if not record["answerable"]),
        "routes": {
            route: _part(record for record in records if record["route"] == route)
            for route in sorted({record["route"] for record in records} - {""})
        },
        "intervals": intervals,
    }


def scores_of(records: Iterable[Record]) -> dict[str, list[float]]:
    """Return the scores by metric, question by question; higher is better for each of them.

    `latency` is the seconds with a minus before them.
    """
    records = list(records)
    found = {metric: [record["scores"][metric] for record in records] for metric in METRICS}
    return found | {"latency": [-record["seconds"] for record in records]}


def _part(records: Iterable[Record]) -> dict[str, Any]:
    """Return the figures of some of the questions."""
    records = list(records)
    if not records:
        return {"questions": 0}
    return {
        "questions": len(records),
        "refused": round(fmean(record["refused"] for record in records), 4),
        **{metric: round(fmean(record["scores"][metric] for record in records), 4) for metric in METRICS},
    }


def _differences(first: Sequence[Record], other: Sequence[Record]) -> dict[str, Any]:
    """Return how `other` stands to `first` on the questions that both were asked."""
    known = {record["id"]: record for record in first}
    shared = [record for record in other if record["id"] in known]
    if not shared:
        return {"questions": 0, "metrics": {}}
    before, after = scores_of(known[record["id"]] for record in shared), scores_of(shared)
    found = {metric: asdict(difference(before[metric], after[metric])) for metric in after}
    return {
        "questions": len(shared),
        "metrics": {
            metric: {key: round(value, 4) for key, value in figures.items()}
            for metric, figures in found.items()
        },
    }
