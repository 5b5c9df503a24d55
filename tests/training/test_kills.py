"""A training that is killed or interrupted goes on, and ends as if it had not been."""

import signal
from pathlib import Path
from typing import NamedTuple

import pytest
from safetensors.numpy import load_file

from markgraph.models.registry import Registry
from tests.engines.tiny import tiny_llama
from tests.training.runs import NAME, Process, losses, read, rows, settings, write_rows

pytestmark = pytest.mark.slow


class Unbroken(NamedTuple):
    """A run that nothing disturbed."""

    settings: list[str]
    folder: Path


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    place = tmp_path_factory.mktemp("unbroken")
    chosen = settings(tiny_llama(place / "tiny"), write_rows(place / "rows.jsonl", rows()))
    process = Process(place / "home", ["train", *chosen, "run=r", "confirm=true"])
    assert process.ended() == 0, process.told
    return Unbroken(chosen, place / "home" / "training" / "r")


def is_as(folder: Path, unbroken: Unbroken) -> None:
    """Compare what a broken run has left with what the unbroken one has."""
    assert [step for step, _ in losses(folder)] == [step for step, _ in losses(unbroken.folder)]
    for (_, loss), (_, expected) in zip(losses(folder), losses(unbroken.folder), strict=True):
        assert loss == pytest.approx(expected, abs=1e-5)
    file = Path("model/adapter_model.safetensors")
    found, expected = load_file(folder / file), load_file(unbroken.folder / file)
    assert found.keys() == expected.keys()
    for key in found:
        assert found[key] == pytest.approx(expected[key], abs=1e-5), key
    assert read(folder / "scores" / "candidate.json") == {
        metric: pytest.approx(values, abs=1e-4)
        for metric, values in read(unbroken.folder / "scores" / "candidate.json").items()
    }
    versions = Registry(folder.parents[1] / "models").versions(NAME)
    assert [each.card.run for each in versions] == ["r"], "registered once"


LEFT: dict[str, str] = {
    "begun": "training/r/config.yaml",
    "prepared": "training/r/rows/held.jsonl",
    "planned": "training/r/plan.json",
    "half a checkpoint": "training/r/checkpoints/checkpoint-8/adapter_model.safetensors",
    "a checkpoint": "training/r/checkpoints/checkpoint-16/trainer_state.json",
    "trained": "training/r/model/adapter_config.json",
    "half scored": "training/r/scores/champion.jsonl",
    "scored": "training/r/scores/champion.json",
    "compared": "training/r/verdict.json",
    "registered": f"models/{NAME}/1/card.json",
}
"""When to kill: as soon as this file is there."""


def test_a_run_that_is_killed_at_every_step_ends_as_one_that_was_not(
    unbroken: Unbroken, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    killed = 0
    arguments = ["train", *unbroken.settings, "run=r", "confirm=true"]
    for file in LEFT.values():
        process = Process(home, arguments)
        killed += process.send(signal.SIGKILL, (home / file).exists) == -signal.SIGKILL
        arguments = ["train", "resume=r", "confirm=true"]
    last = Process(home, arguments)
    assert last.ended() == 0, last.told
    assert killed >= len(LEFT) - 1, "the last may have ended before"
    is_as(home / "training" / "r", unbroken)


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(unbroken: Unbroken, tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = Process(home, ["train", *unbroken.settings, "run=r", "confirm=true", "method.save_steps=1000"])
    log = home / "training" / "r" / "log.jsonl"

    def has_steps() -> bool:
        return log.exists() and len(log.read_text("utf-8").splitlines()) >= 5

    assert process.send(signal.SIGINT, has_steps) == 130, process.told
    assert "Go on with: markgraph train resume=r confirm=true" in process.told
    (checkpoint,) = (home / "training" / "r" / "checkpoints").iterdir()
    assert int(checkpoint.name.rpartition("-")[2]) >= 5, "what was trained until then is kept"
    assert not (home / "training" / "r" / "model").exists()
    again = Process(home, ["train", "resume=r", "confirm=true"])
    assert again.ended() == 0, again.told
    is_as(home / "training" / "r", unbroken)


def test_one_process_at_a_time_goes_on_with_a_run(unbroken: Unbroken, tmp_path: Path) -> None:
    home = tmp_path / "home"
    # It would train for minutes, so that the second one comes in time on a busy machine, too.
    one = Process(home, ["train", *unbroken.settings, "method.epochs=1000", "run=r", "confirm=true"])
    begun = (home / "training" / "r" / "config.yaml").exists
    second = None
    while second is None:
        if begun():
            second = Process(home / "second", ["train", "resume=r", f"data_dir={home}"])
    assert second.ended() == 2, second.told
    assert "Another process is at work on run 'r'" in second.told
    assert one.send(signal.SIGINT, begun) == 130, one.told
