"""Figures out of timed tokens, and rows out of figures."""

from collections.abc import Callable, Mapping, Sequence

from markgraph.bench.measure import Runner
from markgraph.bench.plan import MARK, RIVALS, Plan
from markgraph.bench.processes import Process, Setting
from markgraph.bench.results import Figures, Results
from markgraph.bench.table import Bound, Row, compare

Timed = Sequence[tuple[float, int]]
"""Tokens of one answer: seconds since the request, id."""
Measure = Callable[[Process], Figures]


def answer(prompt: Callable[[], list[int]], new: int) -> Measure:
    """Return what measures one answer of `new` tokens."""

    def measure(process: Process) -> Figures:
        return of_answer(process.call("answer", prompt=prompt(), new=new), new)

    return measure


def of_answer(timed: Timed, new: int) -> Figures:
    """Return seconds in all and until the first token, and tokens per second after that."""
    assert len(timed) == new, f"{len(timed)} tokens came instead of {new}"
    first, last = timed[0][0], timed[-1][0]
    decode = (new - 1) / (last - first) if new > 1 else 0.0
    return {"seconds": last, "first": first, "decode": decode}


def batch(prompts: Callable[[], list[list[int]]], new: int) -> Measure:
    """Return what measures several answers at once."""

    def measure(process: Process) -> Figures:
        return of_batch(process.call("batch", prompts=prompts(), new=new))

    return measure


def of_batch(answers: Sequence[Timed]) -> Figures:
    """Return tokens per second in total, while all decode and from beginning to end."""
    begin = max(answer[0][0] for answer in answers)
    end = min(answer[-1][0] for answer in answers)
    last = max(answer[-1][0] for answer in answers)
    between = sum(begin < at <= end for answer in answers for at, _ in answer)
    total = sum(map(len, answers))
    return {"decode": between / (end - begin) if end > begin else total / last, "whole": total / last}


def fastest(figures: Figures) -> float:
    """Return what is least where decoding is fastest."""
    return -figures["decode"]


def rival(
    plan: Plan,
    name: str,
    settings: Callable[[], tuple[Setting, ...]],
    measure: Measure,
    cost: Callable[[Figures], float],
    called: str = "",
) -> tuple[Runner, ...]:
    """Return a rival as a runner; nobody, where it was not asked for."""
    if name not in plan.rivals:
        return ()
    return (Runner(called or RIVALS[name], settings, measure, cost),)


def versus(
    results: Results,
    what: str,
    unit: str,
    figure: str,
    targets: Mapping[str, Bound | None],
    *,
    mine: str = MARK,
    times_faster: bool = False,
) -> list[Row]:
    """Return a row for each rival in `targets` that takes part."""
    rows = []
    for name, target in targets.items():
        if results.has(mine) and (results.has(name) or name in results.reasons):
            theirs = results.of(name, figure) if results.has(name) else ()
            runs, said = results.of(mine, figure), results.said(name)
            rows.append(compare(what, unit, runs, said, theirs, target, times_faster=times_faster))
    return rows


def alone(
    results: Results, what: str, unit: str, figure: str, target: Bound | None = None, mine: str = MARK
) -> list[Row]:
    """Return the row of a figure that stands for itself."""
    return [compare(what, unit, results.of(mine, figure), target=target)] if results.has(mine) else []


def at_least(figure: float) -> Bound:
    """Return the bound."""
    return Bound(">=", figure)


def at_most(figure: float) -> Bound:
    """Return the bound."""
    return Bound("<=", figure)
