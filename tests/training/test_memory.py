"""A training that memory does not hold is refused in its plan, with what to do: no system has to end it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from markgraph.training.memory import within_memory
from markgraph.training.sft import Sft
from tests.engines.tiny import tiny_llama
from tests.training.runs import rows, settings, write_rows

LITTLE = """
import sys
import markgraph.training.memory
from markgraph.cli import run
from markgraph.models.machine import Memory
markgraph.training.memory.memory = lambda: Memory(2**30, 2**30, None, None)
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a process may take")
def test_the_plan_tries_the_longest_rows(tmp_path: Path) -> None:
    some = rows()
    for row in some[-20:]:
        row["messages"][0]["content"] += " notice" * 500
    model, data = tiny_llama(tmp_path / "tiny", window=4096), write_rows(tmp_path / "rows.jsonl", some)
    command = [sys.executable, "-c", LITTLE, "train", *settings(model, data), "method.batch_size=16"]
    environment = os.environ | {"MARKGRAPH_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr
    assert "markgraph: Stage train takes more memory than the 1.0 GiB that are left here." in done.stderr
    assert "method.batch_size=8 method.accumulation=2" in done.stderr
    done = subprocess.run(
        [*command, "method.max_tokens=300"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="another thing"), within_memory("train", Sft()):
        raise RuntimeError("another thing")
