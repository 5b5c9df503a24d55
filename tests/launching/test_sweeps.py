"""Sweeps as a person starts them: each job a process, its words and exit codes kept, the best found."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from markgraph.cli import run
from markgraph.launching.outcome import Outcome
from tests.commands.conftest import STAND_INS, Ran

Command = Callable[..., Ran]
PAY = "Within how many days must the customer pay an invoice?"
RATE = ("feedback", "up", "-m", "thread=t1,t2", "experiment=no_weights")
"""Fails at once in each process, with 2 and a message that names its thread."""
pytestmark = pytest.mark.slow


@pytest.fixture
def markgraph(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Return a function that runs `markgraph ARGUMENTS`, launchers in this process."""

    def call(*arguments: str) -> Ran:
        capfd.readouterr()
        code = run(arguments)
        return Ran(code, *capfd.readouterr())

    return call


@pytest.fixture
def collection(tmp_path: Path, markgraph: Command) -> None:
    (tmp_path / "terms.md").write_text("# Terms\n\nThe customer shall pay each invoice within 30 days.\n")
    assert markgraph("ingest", str(tmp_path / "terms.md"), "experiment=no_weights").code == 0


@pytest.mark.parametrize(
    "launcher",
    [
        ("hydra/launcher=ray", "hydra.launcher.cpus=2"),
        ("hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.mem_gb=1"),
    ],
    ids=["ray", "submitit"],
)
def test_every_launcher_gives_back_messages_and_the_worst_exit_code(
    launcher: tuple[str, ...], markgraph: Command
) -> None:
    ran = markgraph(*RATE, *launcher)
    assert (ran.code, ran.out) == (2, "")
    first, second = ran.err.index("'t1' of qa"), ran.err.index("'t2' of qa")
    assert first < second
    for number in (1, 2):
        begun = ran.err.index(f"job {number} of 2 submitted: thread=t{number}\n")
        ended = ran.err.index(f"job {number} of 2 ended: exit code 2\n")
        assert begun < ended < ran.err.index(f"'t{number}' of qa")
    assert ran.err.endswith("\n1    thread=t1  2          -\n2    thread=t2  2          -\n")


def test_a_cluster_that_is_not_there_is_one_message_that_names_another_way(markgraph: Command) -> None:
    ran = markgraph(*RATE, "hydra/launcher=slurm")
    assert ran.code != 0
    assert ran.err.startswith("markgraph: There is no cluster 'slurm' here: Could not detect \"srun\"")
    assert "hydra.launcher.cluster=local" in ran.err
    assert "Its log is in" not in ran.err


@pytest.mark.usefixtures("collection")
@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=joblib",)], ids=["one by one", "joblib"])
def test_a_sweep_ends_with_a_table_of_its_jobs_that_marks_the_best(
    launcher: tuple[str, ...], markgraph: Command
) -> None:
    space = ("graph.validate.answerable=1.1,0.4", "output=json")
    ran = markgraph("ask", PAY, *STAND_INS, "-m", *space, *launcher)
    assert ran.code == 3
    scores = [json.loads(line)["verdict"]["score"] for line in ran.out.splitlines()]
    heading, first, second = ran.err.splitlines()[-3:]
    assert heading.split() == "job overrides exit code score".split()
    assert first == f"1    graph.validate.answerable=1.1  3          {scores[0]:.6g}"
    assert second == f"2    graph.validate.answerable=0.4  0          {scores[1]:.6g}  best"
    if launcher:
        assert "job 1 of 2: graph.validate.answerable=1.1\n" in ran.err
        assert ran.err.index("job 2 of 2 ended: exit code 0\n") < ran.err.index(heading)


@pytest.fixture
def tried(home: Path) -> Callable[[], dict[str, object]]:
    """Return a function that reads what the last sweep has kept."""

    def read() -> dict[str, object]:
        (file,) = home.glob("sweeps/*/sweep.json")
        kept: dict[str, object] = json.loads(file.read_text("utf-8"))
        return kept

    return read


@pytest.mark.usefixtures("collection")
def test_optuna_finds_the_setting_that_measures_best(
    markgraph: Command, tried: Callable[[], dict[str, object]]
) -> None:
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")
    # No sentence scores above 1: nearly all of the interval refuses, and measures 0.
    space = ("graph.validate.answerable=0.4,1.1", "graph.retrieve.k=range(1,4)", "output=json")
    ran = markgraph("ask", PAY, *STAND_INS, "-m", *search, *space)
    kept = tried()
    figures = [each["figure"] for each in kept["tried"]]  # type: ignore[attr-defined]
    assert ran.code == 3, "the worst of all: a refusal"
    assert len(figures) == 4
    assert len(set(figures)) > 1
    best = kept["best"]
    assert best["figure"] == max(figures)  # type: ignore[index]
    assert best["settings"]["graph.validate.answerable"] == 0.4  # type: ignore[index]
    assert f"Best of 4: {max(figures):.6g}" in ran.err
    assert "exit code" not in ran.err, "it is not said twice"


@pytest.mark.usefixtures("collection")
def test_joblib_runs_processes_whose_words_and_figures_come_back_in_order(
    markgraph: Command, tried: Callable[[], dict[str, object]]
) -> None:
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2")
    space = ("graph.compress.max_tokens=int(interval(100,600))", "hydra/launcher=joblib", "output=json")
    ran = markgraph("ask", PAY, *STAND_INS, "-m", *search, *space)
    assert ran.code == 0, ran.err
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert ["30 days" in answer["answer"] for answer in answers] == [True, True]
    kept: list[dict[str, Any]] = tried()["tried"]  # type: ignore[assignment]
    assert [each["figure"] for each in kept] == [answer["verdict"]["score"] for answer in answers]
    budgets = [each["settings"]["graph.compress.max_tokens"] for each in kept]
    first, second = (ran.err.index(f"graph.compress.max_tokens={budget}]\n") for budget in budgets)
    assert first < second
    assert f"job 2 of 2: graph.compress.max_tokens={budgets[1]}\n" in ran.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ((), "Give a setting several values"),
        (("hydra.sweeper.direction=up", "thread=a,b"), "Allowed: maximize or minimize"),
        (("thread=glob(*)",), "can't be searched"),
    ],
)
def test_optuna_says_what_it_cannot_search(more: tuple[str, ...], says: str, markgraph: Command) -> None:
    ran = markgraph("feedback", "list", "-m", "hydra/sweeper=optuna", "experiment=no_weights", *more)
    assert ran.code == 2, ran.err
    assert says in ran.err


def test_a_sweep_without_a_figure_has_no_best(markgraph: Command) -> None:
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=2")
    ran = markgraph("feedback", "list", "-m", *search, "output=text,json", "experiment=no_weights")
    assert (ran.code, "No run of this sweep measured anything" in ran.err) == (2, True)


def test_a_search_names_what_the_best_has_registered_and_says_when_it_looks_the_wrong_way(
    markgraph: Command, monkeypatch: pytest.MonkeyPatch, tried: Callable[[], dict[str, Any]]
) -> None:
    cost = {"t1": 9.0, "t2": 7.0}

    def trained(config: Any) -> Outcome:
        made = f"clerk@{config.thread}"
        return Outcome(0, cost[config.thread], "perplexity", lower_is_better=True, made=made)

    monkeypatch.setattr("markgraph.commands.feedback.run", trained)
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=3")
    assert markgraph(*RATE, *search, "hydra.sweeper.direction=minimize").code == 0
    kept = tried()
    assert kept["best"] == {"settings": {"thread": "t2"}, "figure": 7.0, "registered": "clerk@t2"}
    assert {each["registered"] for each in kept["tried"]} == {"clerk@t1", "clerk@t2"}
    ran = markgraph(*RATE, *search)
    assert ran.err.count("Of perplexity, less is better, and this sweep looks for most") == 1
    assert "Best of 6: 9 with thread=t1, registered as clerk@t1. All: " in ran.err


@pytest.mark.parametrize("figure", [math.nan, math.inf])
def test_a_figure_that_is_not_finite_is_none(
    figure: float,
    markgraph: Command,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
) -> None:
    figures = {"t1": figure, "t2": 7.0}
    monkeypatch.setattr(
        "markgraph.commands.feedback.run", lambda config: Outcome(0, figures[config.thread], "auc")
    )
    search = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=3")
    assert "Best of 6: 7 with thread=t2. All: " in markgraph(*RATE, *search).err
    (file,) = home.glob("sweeps/*/sweep.json")
    kept = json.loads(file.read_text("utf-8"), parse_constant=pytest.fail)
    assert {each["settings"]["thread"]: each["figure"] for each in kept["tried"]} == {"t1": None, "t2": 7.0}


def test_a_job_that_fails_stands_in_the_table_too(markgraph: Command) -> None:
    ran = markgraph(*RATE)
    assert ran.code == 2
    assert "\n1    thread=t1  2          -\n2    thread=t2  2          -\n" in ran.err


def test_ctrl_c_ends_a_sweep_and_not_one_job_of_it(
    markgraph: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def interrupted(config: Any) -> int:
        begun.append(config.thread)
        raise KeyboardInterrupt

    monkeypatch.setattr("markgraph.commands.feedback.run", interrupted)
    assert markgraph(*RATE).code == 130
    assert begun == ["t1"]
