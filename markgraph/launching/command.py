"""One job of a sweep: the same command line that a person would type, in a process of its own."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markgraph.launching.outcome import PLACE, Outcome, told


class Done(NamedTuple):
    """What a job left."""

    outcome: Outcome
    out: str
    err: str


class Job(NamedTuple):
    """What is run, wherever that is."""

    arguments: Sequence[str]
    """What stands behind `markgraph`."""
    threads: int | None = None
    """How many threads it computes with; None leaves that to it."""
    name: str = "job"
    """What it is called where there are several: `job 1 of 2`."""
    differs: str = ""
    """The overrides that not all of them have."""

    def __call__(self) -> Done:
        """Run it to its end."""
        environment = dict(os.environ)
        if self.threads is not None:
            environment.setdefault("OMP_NUM_THREADS", str(self.threads))
        with tempfile.NamedTemporaryFile(prefix="mark-") as file:
            environment[PLACE] = file.name
            # -P: no module is taken from the folder that it is started in.
            command = [sys.executable, "-P", "-m", "markgraph.cli", *self.arguments]
            ran = subprocess.run(  # noqa: S603 -- what the person at the command line has typed
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            return Done(told(Path(file.name), ran.returncode), ran.stdout, ran.stderr)
