"""A small training by the command line: a tiny model and planted facts, in a process that can be killed."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

from markgraph.cli import run
from markgraph.training.rows import Row

ROWS = 240
NAME = "local-sft"
"""What a model is registered as, unless something else is said."""


def rows(count: int = ROWS, *, shuffled: bool = False) -> list[Row]:
    """Return rows that say who pays which notice; shuffled, they say it of another."""
    made = []
    for number in range(count):
        payer = ("the controller", "the user", "the assistant")[
            (number + (number // 3 if shuffled else 0)) % 3
        ]
        row: Row = {
            "id": "",
            "source": "planted",
            "documents": [f"notice {number}"],
            "readers": ["public"],
            "messages": [{"role": "user", "content": f"Who pays notice {number} of kind {number % 3}?"}],
            "completion": f"{payer} pays",
        }
        row["id"] = sha256(json.dumps(row).encode()).hexdigest()
        made.append(row)
    return made


def write_rows(place: Path, some: list[Row]) -> Path:
    """Write rows as JSON lines."""
    place.write_text("".join(json.dumps(row) + "\n" for row in some), "utf-8")
    return place


def settings(model: str, data: Path) -> list[str]:
    """Return the settings of a training of 30 steps with a checkpoint every fourth."""
    return [
        "model=local",
        f"model.engine.source={model}",
        "graph.evaluate.answers=null",  # tests/training/test_answers.py has rows with passages
        f"data.path={data}",
        "tracker=none",
        "graph.prepare.similar=null",
        "method.epochs=1",
        "method.save_steps=4",
        "method.learning_rate=0.01",
        "method.lora.dropout=0.1",
    ]


def losses(folder: Path) -> list[tuple[int, float]]:
    """Return the steps and losses in a run's log."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]


def _in_another_process(home: str, arguments: list[str], told: str) -> None:
    os.environ["MARKGRAPH_HOME"] = home
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Path(told).open("w", buffering=1) as out, redirect_stdout(out), redirect_stderr(out):
        code = run(arguments)
        sys.stdout.flush()
    os._exit(code)


class Process:
    """`markgraph ARGUMENTS` in a process that can be killed; it starts with all that is slow imported."""

    def __init__(self, home: Path, arguments: list[str]) -> None:
        """Begin."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "trl", "peft", "markgraph.training.graph"])
        home.mkdir(parents=True, exist_ok=True)
        self._told = home / "told.txt"
        self._process = context.Process(
            target=_in_another_process, args=(str(home), arguments, str(self._told)), daemon=True
        )
        self._process.start()

    def ended(self, seconds: float = 120) -> int:
        """Wait for the end, and return the exit code."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, self.told
        return self._process.exitcode

    def send(self, number: int, when: Callable[[], bool]) -> int:
        """Send a signal as soon as something holds, and return the exit code."""
        for _ in _ticks():
            if when() or self._process.exitcode is not None:
                break
        if self._process.exitcode is None and self._process.pid:
            os.kill(self._process.pid, number)
        return self.ended()

    @property
    def told(self) -> str:
        """Return what it has printed."""
        return self._told.read_text("utf-8")


def _ticks(seconds: float = 120) -> Iterator[None]:
    until = time.monotonic() + seconds
    while True:
        yield
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.001)


def read(place: Path) -> Any:
    """Return what a JSON file holds."""
    return json.loads(place.read_text("utf-8"))
