"""The bench over engines of a few lines, each in a process of its own."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.bench.figures import alone, versus
from markgraph.bench.kept import Kept
from markgraph.bench.measure import Case, Run, Runner
from markgraph.bench.processes import EngineFailedError, Process, Setting
from markgraph.bench.progress import Progress
from markgraph.bench.results import Figures, Results
from markgraph.bench.table import Row

ENGINE = """
import os, sys
def load(speed):
    print("libraries print what they like")
    return {"speed": lambda: speed, "pid": os.getpid, "fail": lambda: 1 / 0, "die": lambda: os._exit(3)}
"""
ABSENT = "import a_library_that_nobody_has\n"


@pytest.fixture
def engine(tmp_path: Path) -> Callable[..., Setting]:
    def make(name: str, speed: float, code: str = ENGINE) -> Setting:
        module = tmp_path / f"{name}.py"
        module.write_text(code)
        return Setting(name, str(module), {"speed": speed}, f"speed {speed:g}", install=f"pip install {name}")

    return make


def speed(process: Process) -> Figures:
    return {"speed": process.call("speed")}


def rows(results: Results) -> list[Row]:
    return versus(results, "speed", "m/s", "speed", {"rival": None}) or alone(
        results, "speed", "m/s", "speed"
    )


def case(mine: Setting, *rivals: Setting, title: str = "speed") -> Case:
    runners = [Runner("MARK", lambda: (mine,), speed, ours=True)]
    if rivals:
        runners.append(Runner("rival", lambda: rivals, speed, cost=lambda figures: -figures["speed"]))
    return Case("speed", title, tuple(runners), rows, seconds=1)


def run(cases: list[Case], folder: Path) -> Run:
    return Run(cases, 2, Progress(1), Kept(folder / "kept"))


def test_engine_runs_in_a_process_of_its_own(engine: Callable[..., Setting]) -> None:
    process = Process(engine("one", 1))
    try:
        assert process.call("pid") == process.pid != os.getpid()
    finally:
        process.close()


@pytest.mark.parametrize(("call", "words"), [("fail", "ZeroDivisionError"), ("die", "exit code 3")])
def test_says_why_an_engine_failed(call: str, words: str, engine: Callable[..., Setting]) -> None:
    process = Process(engine("one", 1))
    try:
        with pytest.raises(EngineFailedError, match=words):
            process.call(call)
    finally:
        process.close()


def test_measures_the_rival_as_it_is_set_up_best(engine: Callable[..., Setting], tmp_path: Path) -> None:
    done = run([case(engine("mark", 4), engine("slow", 1), engine("quick", 2))], tmp_path)
    done.measure()
    [row] = done.rows()
    assert (row.rival, row.ratio, row.runs) == ("rival (speed 2)", 2, [4, 4])


def test_goes_on_without_a_rival_that_is_not_installed(
    engine: Callable[..., Setting], tmp_path: Path
) -> None:
    done = run([case(engine("mark", 4), engine("absent", 1, ABSENT))], tmp_path)
    done.measure()
    [row] = done.rows()
    assert row.rival == "absent is not installed: pip install absent"
    assert (row.value, row.ratio) == (4, None)


def test_keeps_what_was_finished_and_goes_on_from_there(
    engine: Callable[..., Setting], tmp_path: Path
) -> None:
    first, broken = case(engine("mark", 4), title="first"), case(engine("broken", 1, ABSENT), title="second")
    stopped = run([first, broken], tmp_path)
    with pytest.raises(EngineFailedError):
        stopped.measure()
    assert [row.value for row in stopped.rows()] == [4]
    again = run([case(engine("mark", 5), title="first"), case(engine("mended", 6), title="second")], tmp_path)
    again.measure()
    assert [row.value for row in again.rows()] == [4, 6]


def test_measures_a_case_again_whose_rival_was_missing(
    engine: Callable[..., Setting], tmp_path: Path
) -> None:
    run([case(engine("mark", 4), engine("absent", 1, ABSENT))], tmp_path).measure()
    again = run([case(engine("mark", 4), engine("there", 2))], tmp_path)
    again.measure()
    assert [row.ratio for row in again.rows()] == [2]
