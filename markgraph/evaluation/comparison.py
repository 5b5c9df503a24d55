"""Decides whether a candidate is better than what is in service, from scores on the same questions.

Nothing is taken on trust: what can't be compared is refused, and the reasons are all named.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from markgraph.evaluation.intervals import CONFIDENCE, SEED, Interval, interval_of

MIN_ROWS = 20
"""With fewer questions a bootstrap interval is too narrow to be believed."""

Scores = Mapping[str, Sequence[float]]
"""Metric to its value for each question, in the same order; higher is better for every metric."""
Guards = Mapping[str, float | str]
"""Metric to how much it may fall: in its own units, or as a part of the champion's score, "50%"."""


@dataclass(frozen=True)
class Difference:
    """A metric of both, and where their difference lies."""

    champion: float
    candidate: float
    mean: float
    """Candidate minus champion."""
    low: float
    high: float
    """The paired bootstrap interval of that."""


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate is accepted, and why not; plain data."""

    accepted: bool
    reasons: tuple[str, ...]
    """All that speaks against it; none where it is accepted."""
    metric: str
    rows: int
    confidence: float
    differences: dict[str, Difference]
    """By metric: all that could be compared."""


def compare(
    champion: Scores,
    candidate: Scores,
    metric: str,
    guards: Guards,
    seed: int = SEED,
    confidence: float = CONFIDENCE,
    min_rows: int = MIN_ROWS,
    what: str = "questions",
) -> Verdict:
    """Return whether `candidate` is better in `metric`, and not worse in what `guards` name.

    It is better if the whole paired bootstrap interval of the difference is above zero. A guard holds if the
    whole interval of its difference is above minus its allowance, so that a fall which the questions are too
    few to rule out is refused as well. Metrics that differ from row to row in nothing have an interval of one
    point.

    Args:
        champion: scores of what is in service.
        candidate: scores on the same questions in the same order.
        metric: what the candidate has to be better in.
        guards: metric to how much it may fall.
        what: what there is a score for each of, as reasons call it.

    Raises:
        ValueError: an allowance is negative or no number.
    """
    check_guards(guards)
    reasons, differences = [], {}
    for name in dict.fromkeys((metric, *guards, *(each for each in champion if each in candidate))):
        if problem := _problem(name, champion, candidate, min_rows, what):
            reasons += [problem] if name == metric or name in guards else []
            continue
        found = differences[name] = difference(champion[name], candidate[name], seed, confidence)
        if name == metric and not found.low > 0:
            reasons.append(_not_better(name, found))
        if name in guards and not found.low >= -_allowance(guards[name], found.champion):
            reasons.append(_fallen(name, found, guards[name]))
    rows = min(len(champion.get(metric, ())), len(candidate.get(metric, ())))
    return Verdict(not reasons, tuple(reasons), metric, rows, confidence, differences)


def check_guards(guards: Guards) -> None:
    """Refuse allowances that are none.

    Raises:
        ValueError: one is negative or no number.
    """
    for name, allowed in guards.items():
        try:
            allowance = _allowance(allowed, 1.0)
        except ValueError:
            allowance = math.nan
        if not (math.isfinite(allowance) and allowance >= 0):
            raise ValueError(
                f"Guard {name!r} allows a fall of {allowed}. Expected a number of 0 or more, or a part of "
                "the champion's score, such as 50%."
            )


def _allowance(allowed: float | str, champion: float) -> float:
    """Return how much a metric may fall, in its own units."""
    if not isinstance(allowed, str):
        return allowed
    return float(allowed.removesuffix("%")) / 100 * abs(champion) if allowed.endswith("%") else math.nan


def _problem(name: str, champion: Scores, candidate: Scores, min_rows: int, what: str) -> str:
    """Return why a metric can't be compared; nothing if it can."""
    for who, scores in (("champion", champion), ("candidate", candidate)):
        if name not in scores:
            return f"{name}: the {who} has no such score; it has {', '.join(sorted(scores)) or 'none'}"
        if not all(math.isfinite(value) for value in scores[name]):
            return f"{name}: a score of the {who} is no finite number"
    rows, others = len(champion[name]), len(candidate[name])
    if rows != others:
        return f"{name}: the champion has {rows} {what}, the candidate {others}; give both the same"
    if rows < min_rows:
        return f"{name}: {rows} {what} are too few to tell; give at least {min_rows}"
    return ""


def difference(
    champion: Sequence[float], candidate: Sequence[float], seed: int = SEED, confidence: float = CONFIDENCE
) -> Difference:
    """Return where the mean difference of two scores lies, question by question: the paired bootstrap."""
    before, after = np.asarray(champion, dtype=float), np.asarray(candidate, dtype=float)  # (n,) each
    found: Interval = interval_of((after - before).tolist(), seed=seed, confidence=confidence)
    return Difference(float(before.mean()), float(after.mean()), found.mean, found.low, found.high)


def _not_better(name: str, found: Difference) -> str:
    return f"{name}: not better, {_figures(found)}; the interval has to lie above zero"


def _fallen(name: str, found: Difference, allowed: float | str) -> str:
    allowance = f"{_allowance(allowed, found.champion):.4g}"
    told = f"{allowance}, {allowed} of the champion's" if isinstance(allowed, str) else allowance
    return f"{name}: may have fallen, {_figures(found)}; allowed is a fall of {told}"


def _figures(found: Difference) -> str:
    return (
        f"{found.champion:.4g} to {found.candidate:.4g}, "
        f"a difference of {found.mean:+.4g} [{found.low:+.4g}, {found.high:+.4g}]"
    )
