"""Sums up who answered how well: a row for each, and how each stands to the first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from markgraph.config_errors import nearest
from markgraph.errors import ConfigError
from markgraph.evaluation.comparison import compare, difference
from markgraph.evaluation.intervals import interval_of
from markgraph.evaluation.log import Record, Subject
from markgraph.evaluation.retrieval import percentile
from markgraph.evaluation.scoring import METRICS

GATED = (*METRICS, "latency")
"""What a gate may ask for."""
Logs = Sequence[tuple[Subject, Sequence[Record]]]


@dataclass(frozen=True)
class Gate:
    """What the others have to be better in than the first, and must not be worse in."""

    metric: str | None = None
    """None: nobody is judged."""
    guards: Mapping[str, float] = field(default_factory=lambda: {"groundedness": 0.05, "refusal": 0.05})
    """Metric to how much it may fall; `latency` is in seconds."""

    def __post_init__(self) -> None:
        for name in (*([self.metric] if self.metric else ()), *self.guards):
            if name not in GATED:
                raise ConfigError(f"The gate asks for {name!r}, which is no metric.{nearest(name, GATED)}")

    def verdict(self, first: Sequence[Record], other: Sequence[Record]) -> dict[str, Any]:
        """Return whether `other` is accepted, and why not; nothing if nobody is judged.

        Both must have been asked the same questions; see `compare`.
        """
        if self.metric is None:
            return {}
        known = {record["id"]: record for record in other}
        same = [known[record["id"]] for record in first if record["id"] in known]
        verdict = compare(scores_of(first), scores_of(same), self.metric, self.guards)
        return {"accepted": verdict.accepted, "reasons": list(verdict.reasons)}


NO_GATE = Gate()


def report_of(logs: Logs, settings: Mapping[str, Any], gate: Gate = NO_GATE) -> dict[str, Any]:
    """Return what goes into report.json: settings, a row for each subject, differences to the first."""
    asked = [(subject, records) for subject, records in logs if records]
    rows = [row_of(subject, records) for subject, records in asked]
    against = asked[0][1] if asked else []
    differences = [
        {
            "subject": subject["label"],
            "key": subject["key"],
            "to": asked[0][0]["label"],
            **_differences(against, records),
            **gate.verdict(against, records),
        }
        for subject, records in asked[1:]
    ]
    return {**settings, "metrics": METRICS, "rows": rows, "differences": differences}


def row_of(subject: Subject, records: Sequence[Record]) -> dict[str, Any]:
    """Return the figures of one subject."""
    row = {"subject": subject["label"], "key": subject["key"], "questions": len(records)}
    scores = {metric: [record["scores"][metric] for record in records] for metric in METRICS}
    times = sorted(1000 * record["seconds"] for record in records)
    written = sum(record["output_tokens"] for record in records)
    return (
        row
        | means_of(scores)
        | {
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
        }
    )


def means_of(scores: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the mean of each metric, and where it lies."""
    found = {metric: interval_of(values) for metric, values in scores.items() if values}
    return {
        **{metric: round(each.mean, 4) for metric, each in found.items()},
        "intervals": {metric: [round(each.low, 4), round(each.high, 4)] for metric, each in found.items()},
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
    found = differences_of(scores_of(known[record["id"]] for record in shared), scores_of(shared))
    return {"questions": len(shared), **found}


def differences_of(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
    """Return how one stands to another in the metrics that both have for as many questions."""
    shared = [metric for metric in before if len(before[metric]) == len(after.get(metric, ()))]
    found = {metric: asdict(difference(before[metric], after[metric])) for metric in shared}
    return {
        "metrics": {
            metric: {key: round(value, 4) for key, value in figures.items()}
            for metric, figures in found.items()
        }
    }
