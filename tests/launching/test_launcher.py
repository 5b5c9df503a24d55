"""What all launchers do: they say when a job has ended, and give back what it left in the jobs' order."""

from collections.abc import Sequence

import pytest

from markgraph.launching.command import Done, Job
from markgraph.launching.launcher import in_order
from markgraph.launching.outcome import Outcome

JOBS = [Job([], name=f"job {number} of 3") for number in (1, 2, 3)]


class Ended:
    """A job that has left something, or was stopped."""

    def __init__(self, code: int | None) -> None:
        self.code = code

    def result(self) -> Done:
        if self.code is None:
            raise RuntimeError("out of memory")
        return Done(Outcome(self.code), "", "")


def said(order: Sequence[int], *codes: int | None) -> list[int]:
    """Return the exit codes in the order in which they are given back, where jobs end in `order`."""
    running = [Ended(code) for code in codes]
    return [done.outcome.code for done in in_order(JOBS, running, (running[at] for at in order))]


def test_says_what_has_ended_at_once_and_gives_it_back_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert said([2, 0, 1], 0, 3, 1) == [0, 3, 1]
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "job 3 of 3 ended: exit code 1",
        "job 1 of 3 ended: exit code 0",
        "job 2 of 3 ended: exit code 3",
    ]


def test_a_job_that_was_stopped_takes_nothing_from_those_before_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running = [Ended(0), Ended(None), Ended(0)]
    given = in_order(JOBS, running, iter([running[1], running[0], running[2]]))
    assert next(given).outcome.code == 0
    with pytest.raises(RuntimeError, match="out of memory"):
        next(given)
    assert capsys.readouterr().err.startswith("job 2 of 3 ended: it was stopped\njob 1 of 3 ended: exit code")
