"""Trackers keep what a run was, and one that goes on after a crash is the same run there."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from markgraph.errors import StorageError
from markgraph.training.mlflow import RUN, Mlflow
from markgraph.training.plots import draw_log, lines_of
from markgraph.training.tensorboard import Tensorboard
from markgraph.training.tracking import Untracked, about
from tests.servers import free_port

CONFIG: dict[str, Any] = {"method": {"epochs": 2, "lora": {"r": 8}}, "seed": 0}


def test_a_run_that_goes_on_is_the_same_run_in_mlflow(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri, artifacts = f"sqlite:///{tmp_path / 'kept' / 'mlflow.db'}", tmp_path / "artifacts"
    plot = tmp_path / "loss.png"
    plot.write_bytes(b"a picture")
    tracker = Mlflow(uri, artifacts=str(artifacts))
    first = tracker.run("r", CONFIG, {"markgraph.rows.train": "abc"})
    first.log({"train/loss": 3.0}, 1)
    first.end("KILLED")
    again = tracker.run("r", CONFIG, {"markgraph.rows.train": "abc"})
    again.log({"train/loss": 2.0}, 2)
    again.keep([plot], "train")
    again.end("FINISHED")
    other = tracker.run("s", CONFIG, {})
    other.end("FINISHED")

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    (experiment,) = (each for each in client.search_experiments() if each.name == "markgraph")
    runs = {run.data.tags[RUN]: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"r", "s"}
    run = runs["r"]
    assert run.info.status == "FINISHED"
    assert run.data.params == {"method.epochs": "2", "method.lora.r": "8", "seed": "0"}
    assert run.data.tags["markgraph.rows.train"] == "abc"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [(1, 3.0), (2, 2.0)]
    kept = next(artifacts.rglob("loss.png"))
    assert (kept.parent.name, kept.read_bytes()) == ("train", b"a picture")


def kept_by(uri: str, run: str, key: str) -> list[tuple[int, float]]:
    """Return the steps and values of a figure, as MLflow has them."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    (experiment,) = (each for each in client.search_experiments() if each.name == "markgraph")
    runs = {each.data.tags[RUN]: each.info.run_id for each in client.search_runs([experiment.experiment_id])}
    return [(each.step, each.value) for each in client.get_metric_history(runs[run], key)]


def test_what_a_kill_took_is_told_again_and_nothing_twice(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Mlflow(uri)
    first: Any = tracker.run("r", CONFIG, {})
    first.log({"loss": 3.0}, 1)
    first.end("FAILED")
    killed: Any = tracker.run("r", CONFIG, {})
    killed.log({"loss": 2.0}, 2)  # it waits to be written with others, and is lost
    again = tracker.run("r", CONFIG, {})
    for step, loss in ((1, 3.0), (2, 2.0), (3, 1.0)):  # what the checkpoint has, and what comes next
        again.log({"loss": loss}, step)
    again.end("FINISHED")
    assert kept_by(uri, "r", "loss") == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_scores_of_another_champion_are_told_beside_those_of_the_first(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for score in (0.5, 0.5, 0.75):
        run = Mlflow(uri).run("r", CONFIG, {})
        run.log({"champion/f1": score}, 0)
        run.end("FINISHED")
    assert sorted(kept_by(uri, "r", "champion/f1")) == [(0, 0.5), (0, 0.75)]


def test_a_run_goes_on_though_its_folder_was_moved(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for folder in ("here", "there"):
        Mlflow(uri).run("r", {"graph": {"runs": folder}}, {}).end("FINISHED")


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    place = tmp_path / "mlflow.db"
    place.write_text("no database " * 99)
    with pytest.raises(
        StorageError, match=rf"MLflow at sqlite:///{place} could not be told .*not a database"
    ):
        Mlflow(f"sqlite:///{place}").run("r", CONFIG, {})


def test_several_processes_make_one_file(tmp_path: Path) -> None:
    code = (
        "import sys; from markgraph.training.mlflow import Mlflow;"
        "Mlflow(sys.argv[1]).run(sys.argv[2], {}, {}).end('FINISHED')"
    )
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    command = [sys.executable, "-W", "ignore", "-c", code, uri]
    started = [subprocess.Popen([*command, name], stderr=subprocess.PIPE) for name in "ab"]
    ended = [process.communicate()[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0], ended


def test_a_server_that_does_not_answer_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    tracker = Mlflow(f"http://anna:secret@127.0.0.1:{free_port()}/ml")
    with pytest.raises(StorageError, match=r"Go on .*: markgraph train resume=r confirm=true") as error:
        tracker.run("r", CONFIG, {})
    said = str(error.value)
    assert said.startswith("MLflow at http://127.0.0.1:")
    assert "secret" not in said
    assert len(said.splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_a_training_goes_on_while_mlflow_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    uri, asked = f"sqlite:///{tmp_path / 'mlflow.db'}", 0
    run = Mlflow(uri).run("r", CONFIG, {})
    write = MlflowClient.log_batch

    def refuse(*_: Any, **__: Any) -> None:
        nonlocal asked
        asked += 1
        raise MlflowException("Nobody is there.")

    monkeypatch.setattr("markgraph.training.mlflow.EVERY", 0.0)
    run.every = 0.0  # type: ignore[attr-defined]
    monkeypatch.setattr(MlflowClient, "log_batch", refuse)
    for step in range(1, 2000):
        run.log({"loss": 1 / step}, step)
    assert asked == 1, "it is not asked again at each step"
    (record,) = (each for each in caplog.records if each.name.startswith("markgraph"))
    assert "Nobody is there. It is told again later; the training goes on." in record.getMessage()
    with pytest.raises(StorageError, match="Nobody is there"):
        run.end("FINISHED")
    monkeypatch.setattr(MlflowClient, "log_batch", write)
    run.end("FINISHED")
    assert kept_by(uri, "r", "loss") == [(step, 1 / step) for step in range(1, 2000)]


def test_what_ended_a_run_is_said_though_the_tracker_does_not_answer() -> None:
    class Gone(Untracked):
        """A tracker that nobody can tell how a run ended."""

        def run(self, name: str, config: Any, tags: Any) -> Untracked:
            return self

        def end(self, status: str) -> None:
            raise StorageError("Nobody is there.")

    state: Any = {"plan": {"config_hash": "c"}, "owner": "tom", "prepared": {}, "run": "r"}
    with pytest.raises(ZeroDivisionError), about(Gone(), state, CONFIG):
        raise ZeroDivisionError
    with pytest.raises(StorageError), about(Gone(), state, CONFIG):
        pass


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Tensorboard(str(tmp_path)).run("r", CONFIG, {})
    run.log({"train/loss": 3.0}, 1)
    run.end("KILLED")
    again = Tensorboard(str(tmp_path)).run("r", CONFIG, {})
    for step, loss in ((1, 3.0), (2, 2.0)):
        again.log({"train/loss": loss}, step)
    again.end("FINISHED")
    events = EventAccumulator(str(tmp_path / "r"))
    events.Reload()
    assert [(each.step, each.value) for each in events.Scalars("train/loss")] == [(1, 3.0), (2, 2.0)]


def test_a_figure_and_the_same_on_held_back_rows_share_a_plot(tmp_path: Path) -> None:
    from PIL import Image

    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"loss": 3.0, "learning_rate": 0.1, "epoch": 0.5, "step": 1}\n'
        '{"loss": 1.0, "rewards/chosen": 0.5, "step": 2}\n'
        '{"eval_loss": 2.0, "eval_runtime": 9.0, "step": 2}\n'
    )
    drawn = draw_log(log, tmp_path / "plots")
    assert [each.name for each in drawn] == ["loss.png", "rewards_chosen.png"]
    for place in drawn:
        colours = Image.open(place).convert("RGB").getcolors(maxcolors=1 << 20)
        assert colours
        assert (0x3B, 0x62, 0xC4) in {colour for _, colour in colours}, place
    held = Image.open(drawn[0]).convert("RGB").getcolors(maxcolors=1 << 20)
    assert held
    assert (0xD2, 0x55, 0x3F) in {colour for _, colour in held}, "the loss on held-back rows is drawn"


def test_what_is_no_number_is_not_drawn() -> None:
    log: list[dict[str, Any]] = [{"loss": float("nan"), "step": 1}, {"loss": 2.0, "step": 2}]
    assert lines_of(log) == {"loss": [(2, 2.0)]}
    with pytest.raises(KeyError):
        lines_of([{"loss": 2.0}])
