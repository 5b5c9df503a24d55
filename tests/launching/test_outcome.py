"""What jobs of a sweep came to stands side by side at its end, for whoever has to choose one."""

from pathlib import Path

import pytest

from markgraph.launching.outcome import PLACE, Outcome, collecting, compared, differing, note, tell, told

SAME = "data.path=rows.jsonl"


def trained(
    job: int, epochs: int, code: int = 0, figure: float | None = None, made: str | None = None
) -> Outcome:
    """Return what a training of a sweep came to."""
    return Outcome(
        code, figure, "logp", made=made, job=job, overrides=(SAME, "seed=1", f"method.epochs={epochs}")
    )


def test_jobs_are_compared_by_what_they_differ_in_and_the_best_of_those_that_passed_is_marked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with collecting():
        note(trained(1, 1, figure=-1.5, made="clerk@1"))
        note(trained(2, 20, code=3, figure=-0.5))
        note(trained(3, 3, figure=-1.25, made="clerk@2"))
        note(trained(4, -1, code=2))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "job  overrides         exit code  logp         registered",
        "1    method.epochs=1   0          -1.5         clerk@1",
        "2    method.epochs=20  3          -0.5",
        "3    method.epochs=3   0          -1.25  best  clerk@2",
        "4    method.epochs=-1  2          -",
    ]


def test_the_lower_figure_is_best_where_it_is_a_cost(capsys: pytest.CaptureFixture[str]) -> None:
    with collecting():
        for job, perplexity in enumerate((8.0, 5.0, 9.0), 1):
            made = Outcome(0, perplexity, "perplexity", lower_is_better=True)
            note(made._replace(job=job, overrides=(f"model={job}",)))
    assert capsys.readouterr().err.splitlines() == [
        "job  overrides  exit code  perplexity",
        "1    model=1    0          8",
        "2    model=2    0          5  best",
        "3    model=3    0          9",
    ]


def test_what_is_no_number_is_not_best(capsys: pytest.CaptureFixture[str]) -> None:
    with collecting():
        note(trained(1, 1, figure=float("nan")))
        note(trained(2, 2, figure=-1.5))
        note(trained(3, 3))
    assert [line.endswith("best") for line in capsys.readouterr().err.splitlines()] == [
        False,
        False,
        True,
        False,
    ]


def test_of_several_processes_of_one_command_the_first_compares(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with collecting():
        note(trained(1, 1))
        note(trained(2, 2))
    assert capsys.readouterr().err == ""


def test_nothing_is_best_of_different_things(capsys: pytest.CaptureFixture[str]) -> None:
    with collecting():
        note(Outcome(0, 1.0, "f1", job=1, overrides=("suite=answers",)))
        note(Outcome(0, 8.0, "perplexity", lower_is_better=True, job=2, overrides=("suite=models",)))
    told = capsys.readouterr().err
    assert "exit code  figure" in told
    assert "best" not in told


def test_a_process_tells_what_it_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "outcome"
    monkeypatch.setenv(PLACE, str(place))
    place.touch()
    assert told(place, 2) == Outcome(2)
    came_to = Outcome(3, 0.25, "f1", made="clerk@1")
    tell([came_to])
    assert told(place, 3) == came_to


def test_nothing_is_compared_where_there_is_no_sweep_or_its_sweeper_does_that(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with collecting():
        note(Outcome(0, 1.0))
    with collecting():
        note(Outcome(0, 1.0, job=1, overrides=("seed=1",)))
    with collecting() as outcomes:
        note(Outcome(0, 1.0, job=1, overrides=("seed=1",)))
        note(Outcome(3, 2.0, job=2, overrides=("seed=2",)))
        compared()
    assert [each.code for each in outcomes] == [0, 3]
    assert capsys.readouterr().err == ""


def test_one_job_differs_from_none_in_nothing() -> None:
    assert differing([[SAME, "seed=1"]]) == [f"{SAME} seed=1"]
