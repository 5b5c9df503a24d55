"""Trackers keep what a run was, and one that goes on after a crash is the same run there."""

from pathlib import Path
from typing import Any

import pytest

from markgraph.training.mlflow import RUN, Mlflow
from markgraph.training.plots import draw_log, lines_of
from markgraph.training.tensorboard import Tensorboard

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


def test_tensorboard_reads_what_was_logged(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Tensorboard(str(tmp_path)).run("r", CONFIG, {})
    run.log({"train/loss": 3.0}, 1)
    run.log({"train/loss": 2.0}, 2)
    run.end("FINISHED")
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
