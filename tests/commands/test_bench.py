"""`markgraph bench`, over a tiny model: what it prints, refuses, and leaves when it is interrupted."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.conftest import Ran
from tests.engines.tiny import tiny_llama


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """Return what makes `bench` measure a tiny model, once."""
    source = tiny_llama(tmp_path / "llama")
    return [f"model.engine.source={source}", "model.engine.sha256=null", "quick=true", "rounds=1"]


def test_prints_rows_and_the_machine(markgraph: Callable[..., Ran], tiny: list[str]) -> None:
    done = markgraph("bench", *tiny, "rows=decode,prefix", "rival=transformers", "output=json")
    assert done.code == 0
    rows, machine = done.json["rows"], done.json["machine"]
    assert {row["what"].split()[0] for row in rows} == {"decode", "shared"}
    assert all(row["value"] > 0 and len(row["runs"]) == 1 for row in rows)
    [rival] = [row for row in rows if row["rival"] == "transformers (bfloat16)"]
    assert rival["ratio"] > 0
    assert rival["target"] == ">= 3.5"
    assert machine["limit"]["tokens_per_second"] > 0
    assert len(machine["load_average"]["before"]) == 3


def test_says_for_people_how_fast_memory_lets_it_be(markgraph: Callable[..., Ran], tiny: list[str]) -> None:
    done = markgraph("bench", *tiny, "rows=prefix", "rival=null")
    assert done.out.startswith("shared prefix of 160 tokens")
    assert "Physical limit for one request" in done.out
    assert "shared prefix" in done.err


@pytest.mark.parametrize(
    ("model", "engine"), [("qwen_1_5b", "model.engine.engine"), ("local", "model.engine")]
)
def test_measures_models_that_are_loaded_on_demand(
    markgraph: Callable[..., Ran], tiny: list[str], model: str, engine: str
) -> None:
    words = [word.replace("model.engine", engine) for word in tiny]
    done = markgraph("bench", f"model={model}", *words, "rows=prefix", "rival=null", "output=json")
    assert done.code == 0
    assert done.json["rows"][0]["value"] > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("rows=speed", r"'rows' has value 'speed'. Allowed: job, "),
        ("rival=vllm", r"'rival' has value 'vllm'. Allowed: llamacpp, openvino, transformers"),
        ("rounds=0", r"rounds"),
        ("model=fake", r"no weights of its own. Allowed: model="),
    ],
)
def test_names_what_it_cannot_measure(markgraph: Callable[..., Ran], wrong: str, message: str) -> None:
    done = markgraph("bench", "quick=true", wrong)
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_tells_what_it_measured_before_it_was_ended(tiny: list[str], how: signal.Signals) -> None:
    words = [*tiny, "rounds=200", "rows=prefix,decode", "rival=null", "output=json"]
    program = [sys.executable, "-m", "markgraph.cli", "bench", *words]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr
        assert bench.stdout
        assert any("shared prefix" in line for line in bench.stderr)
        bench.send_signal(how)
        rows = json.loads(bench.stdout.read())["rows"]
        assert bench.wait() == 130
    assert "decode" in rows[0]["what"]
