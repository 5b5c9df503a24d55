"""Two processes train what one would: the same losses, and one of them writes and speaks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from markgraph.cli import run
from markgraph.errors import UsageError
from markgraph.training.join import shareable
from tests.commands.conftest import Ran
from tests.engines.tiny import tiny_llama
from tests.training.runs import losses, read, rows, settings, write_rows

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "markgraph.cli")
SAME = ("confirm=true", "audit=none", "method.batch_size=4", "method.lora.dropout=0", "method.save_steps=100")


@pytest.fixture
def chosen(tmp_path: Path) -> list[str]:
    data = write_rows(tmp_path / "rows.jsonl", rows())
    return [*settings(tiny_llama(tmp_path / "tiny"), data), *SAME]


def trained(program: tuple[str, ...], home: Path, *settings: str) -> Ran:
    environment = os.environ | {"MARKGRAPH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *program, "train", *settings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_two_processes_learn_as_one_with_twice_the_accumulation(chosen: list[str], tmp_path: Path) -> None:
    alone = trained(("-m", "markgraph.cli"), tmp_path / "alone", *chosen, "method.accumulation=2", "run=r")
    run(["keys", "rotate"])
    both = trained(TORCHRUN, tmp_path / "both", *chosen, "run=r", "seal=keyring")
    assert (alone.code, both.code) == (0, 0), both.err
    one, two = (losses(tmp_path / home / "training" / "r") for home in ("alone", "both"))
    assert len(one) > 10
    assert [step for step, _ in two] == [step for step, _ in one]
    assert [loss for _, loss in two] == pytest.approx([loss for _, loss in one], rel=1e-4)
    assert both.out.count("Registered as local-sft@1") == both.out.count("Run r:") == 1
    made = [
        sorted(each.name for each in (tmp_path / home / "training").iterdir()) for home in ("alone", "both")
    ]
    assert made[0] == made[1]
    plans = [
        read(tmp_path / home / "training" / "r" / "plan.json")["stages"][0] for home in ("alone", "both")
    ]
    assert plans[0]["steps"] == plans[1]["steps"] == len(one)


class Alone:
    """A training that knows nothing of other processes."""

    state = None

    def train(self, resume_from_checkpoint: str | None = None) -> None:
        raise AssertionError("it began")

    def save_model(self, output_dir: str) -> None:
        raise AssertionError("it ended")


def test_a_method_that_trains_in_one_process_is_refused_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(shareable(Alone()), Alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="trains in one process; got 2"):
        shareable(Alone())
