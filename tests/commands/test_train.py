"""`markgraph train`: what it prints, asks and refuses, and how a run goes on."""

import json
import re
import shutil
import sys
from io import StringIO
from pathlib import Path

import pytest

from markgraph.cli import run
from markgraph.models.registry import Registry
from tests.engines.tiny import tiny_llama
from tests.servers import free_port
from tests.training.runs import NAME, rows, settings, write_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def chosen(model: str, tmp_path: Path) -> list[str]:
    return settings(model, write_rows(tmp_path / "rows.jsonl", rows()))


@pytest.fixture
def followed(chosen: list[str]) -> list[str]:
    """Return the same with the tracker that the config has, which is MLflow."""
    return [each for each in chosen if each != "tracker=none"]


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO())


def test_plans_then_trains_when_confirmed_then_does_nothing_twice(
    chosen: list[str], home: Path, no_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *chosen, "run=r"]) == 0
    shown = capsys.readouterr().out
    assert "Nothing has been trained. Train it with:\n  markgraph train resume=r confirm=true\n" in shown
    assert shown.startswith("Run r: local, config ")
    assert Registry(home / "models").names() == []

    assert run(["train", "resume=r"]) == 0
    assert capsys.readouterr().out == shown, "it waits still, and says the same"

    assert run(["train", "resume=r", "confirm=true"]) == 0
    assert f"Registered as {NAME}@1, the challenger." in capsys.readouterr().out
    log = (home / "training" / "r" / "log.jsonl").stat()

    assert run(["train", "resume=r", "confirm=true", "output=json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["registered"] == {"name": NAME, "version": 1, "alias": "challenger"}
    assert [each.version for each in Registry(home / "models").versions(NAME)] == [1]
    assert (home / "training" / "r" / "log.jsonl").stat() == log


class Terminal(StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "trained"), [("y\n", True), ("n\n", False), ("", False)])
def test_a_person_at_the_terminal_is_asked(
    typed: str, trained: bool, chosen: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert run(["train", *chosen, "run=r", "method.epochs=0.2"]) in (0, 3)
    assert (home / "training" / "r" / "model").exists() is trained


def test_what_is_no_better_is_not_registered(
    chosen: list[str], home: Path, no_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *chosen, "run=r", "confirm=true", "method.learning_rate=1e-12"]) == 3
    shown = capsys.readouterr().out
    assert "refused: completion_logp: not better" in shown
    assert "Not registered: what is in service stays." in shown
    assert not (home / "models" / NAME).exists()
    assert run(["train", "resume=r"]) == 3, "it says so again"


def test_a_run_goes_on_with_the_settings_that_it_began_with(
    chosen: list[str], no_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *chosen, "run=r", "seed=3"]) == 0
    for override in ("method.epochs=9", "seed=4", "model=smollm2", "name=other"):
        assert run(["train", "resume=r", override]) == 2
        assert "goes on with the settings that it began with" in capsys.readouterr().err
    assert run(["train", "resume=s"]) == 2
    assert "There is no run 's' in " in (told := capsys.readouterr().err)
    assert "Allowed: r." in told
    assert run(["train", "resume=r", "auth.caller.subject=eve"]) == 2
    assert "There is no run 'r' of yours." in capsys.readouterr().err


def test_a_run_s_name_stands_for_no_other_settings_and_for_no_folder_that_is_gone(
    chosen: list[str], home: Path, no_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home / "training" / "r"
    assert run(["train", *chosen, "run=r"]) == 0
    assert run(["train", *chosen, "run=r", "method.epochs=2", "confirm=true"]) == 2
    told = capsys.readouterr().err
    assert "There is a run 'r' already, begun with other settings than these. Choose another name" in told
    assert "markgraph train resume=r" in told
    assert not (folder / "model").exists()

    assert run(["train", *chosen, "run=r", "confirm=true"]) == 0
    assert f"Registered as {NAME}@1" in capsys.readouterr().out
    assert run(["train", *chosen, "run=r", "seed=1", "confirm=true"]) == 2, "nor when it is finished"
    assert not capsys.readouterr().out
    assert run(["train", *chosen, "run=r"]) == 0
    assert "Run r is finished; nothing was done again." in capsys.readouterr().out

    shutil.rmtree(folder)
    assert run(["train", *chosen, "run=r", "confirm=true"]) == 2
    assert "its folder" in (told := capsys.readouterr().err)
    assert "is gone. Choose another name with run=NAME" in told


def test_a_plan_says_before_the_training_that_too_few_rows_are_held_back(
    model: str, tmp_path: Path, no_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(model, write_rows(tmp_path / "rows.jsonl", rows(60)))
    assert run(["train", *chosen, "run=r"]) == 0
    told = "Only 6 rows are held back, and the gate needs 20: nothing could be registered."
    assert told in capsys.readouterr().out
    assert run(["train", *chosen, "run=s", "graph.prepare.held=0.4"]) == 0
    assert "nothing could be registered" not in capsys.readouterr().out

    assert run(["train", "resume=r", "confirm=true"]) == 3
    shown = capsys.readouterr().out
    assert "refused: completion_logp: 6 rows are too few to tell; give at least 20" in shown
    _, means = re.findall(r"^(?:metric|completion_logp) .*$", shown, re.MULTILINE)
    assert re.fullmatch(r"completion_logp +-\d\S* +-\d\S* *", means), "both means, and no interval"


def test_a_run_whose_home_was_moved_goes_on_where_it_is_now(
    followed: list[str],
    home: Path,
    tmp_path: Path,
    no_terminal: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(["train", *followed, "run=r"]) == 0
    now = tmp_path / "elsewhere"
    home.rename(now)
    monkeypatch.setenv("MARKGRAPH_HOME", str(now))
    assert run(["train", "resume=r", "confirm=true"]) == 0
    assert (now / "training" / "r" / "model").is_dir()
    assert (now / "mlflow.db").is_file()
    assert Registry(now / "models").names() == [NAME]
    assert not home.exists()
    assert not capfd.readouterr().err, "nor do libraries say what nobody can do anything about"


def test_who_is_nobody_is_refused(
    chosen: list[str], home: Path, no_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *chosen, "auth.caller.roles=[reader]"]) == 4
    assert "it needs permission 'graph:run' for graph:train" in capsys.readouterr().err
    assert not (home / "training").exists() or not list((home / "training").glob("*/config.yaml"))


@pytest.mark.parametrize("key", ["run", "resume"])
def test_a_run_lies_in_no_other_folder(
    key: str, tmp_path: Path, no_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", f"{key}=../../{tmp_path.name}"]) == 2
    assert "Allowed: the name of a run, without a folder." in capsys.readouterr().err


def test_a_model_without_weights_can_not_be_trained(
    no_terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "model=fake"]) == 2
    assert "This model has no weights of its own. Allowed: model=" in capsys.readouterr().err


def test_a_run_whose_server_is_gone_goes_on_without_it(
    followed: list[str],
    home: Path,
    no_terminal: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone = ["tracker=mlflow", f"tracker.uri=http://127.0.0.1:{free_port()}"]
    assert run(["train", *followed, *gone, "run=r", "confirm=true"]) == 1
    told = capsys.readouterr().err
    assert "Connection refused" in told
    assert "markgraph train resume=r confirm=true [tracker=none]" in told
    assert "Traceback" not in told
    assert run(["train", "resume=r", "confirm=true", "tracker=none"]) == 0, capsys.readouterr().err
    assert (home / "training" / "r" / "verdict.json").exists()


def test_a_training_that_the_tracker_was_not_told_of_is_not_done_again(
    followed: list[str],
    home: Path,
    no_terminal: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlflow.tracking import MlflowClient

    def refuse(*_: object) -> None:
        raise OSError("413 Client Error: Request Entity Too Large")

    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_artifact", refuse)
        assert run(["train", *followed, "run=r", "confirm=true"]) == 1
    assert "could not be told of a run: 413 Client Error" in capsys.readouterr().err
    folder = home / "training" / "r"
    weights = folder / "model" / "adapter_model.safetensors"
    log, made = (folder / "log.jsonl").read_text(), weights.stat().st_mtime_ns
    assert '"eval_loss"' in log
    assert run(["train", "resume=r", "confirm=true"]) == 0, capsys.readouterr().err
    assert (folder / "log.jsonl").read_text() == log
    assert weights.stat().st_mtime_ns == made
    assert next((home / "mlflow").rglob("loss.png"))


def tracked(home: Path) -> dict[str, str]:
    """Return what MLflow was told of the config of the only run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    (params,) = (each.data.params for each in found)
    return dict(params)


def test_secrets_are_kept_neither_with_a_run_nor_in_mlflow_and_it_goes_on(
    followed: list[str],
    home: Path,
    no_terminal: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WORD", "S3CR3T-1")
    secrets = ["+model.api_key='${oc.env:WORD}'", "tracker.uri=http://u:S3CR3T-2@127.0.0.1:9"]
    assert run(["train", *followed, *secrets, "run=r"]) == 0
    kept = (home / "training" / "r" / "config.yaml").read_text()
    assert "api_key: ${oc.env:WORD}\n" in kept
    assert "uri: (withheld)\n" in kept

    capfd.readouterr()
    assert run(["train", "resume=r", "confirm=true"]) == 2
    assert "run 'r' began with one in tracker.uri. Give it again: tracker.uri=VALUE" in capfd.readouterr().err
    assert not (home / "training" / "r" / "model").exists()
    here = f"tracker.uri=sqlite:///{home / 'mlflow.db'}"
    assert run(["train", "resume=r", "confirm=true", here]) == 0, capfd.readouterr().err
    params = tracked(home)
    assert params["model.api_key"] == "${oc.env:WORD}"
    assert [file for file in home.rglob("*") if file.is_file() and b"S3CR3T" in file.read_bytes()] == []
