"""Engines under the bench, each in a process of its own, asked for one measurement at a time."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import IO, Any, Self

from markgraph.errors import MarkError

HERE = Path(__file__).parent
OURS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
"""What MARK's command line sets for itself; a rival runs as its users run it."""
LAST_WORDS = 400
"""Characters of what a dead process wrote on stderr."""


class EngineFailedError(MarkError):
    """An engine under the bench can't be loaded, failed, or died; the message says which, and why."""


@dataclass(frozen=True)
class Setting:
    """An engine, and how it is set up."""

    engine: str
    """Its name in the table."""
    module: str
    """A file of this folder, for `worker.py`."""
    arguments: Mapping[str, Any]
    """What `load` in that module takes."""
    words: str = ""
    """How it is set up, in words."""
    install: str = ""
    """The command that installs what it needs."""
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None
    """The interpreter that has it installed; None for this one."""
    fresh: bool = False
    """Every measurement wants a process that has just been started."""

    @property
    def key(self) -> str:
        """Return what tells this setting from others."""
        what = [self.module, self.arguments, self.environment, self.python, self.fresh]
        return json.dumps(what, default=dict)


class Process:
    """A running engine."""

    def __init__(self, setting: Setting) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in OURS}
        self._setting = setting
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with the process
        begun = perf_counter()
        # -P: a module here is called like the library that it imports.
        self._process = subprocess.Popen(  # noqa: S603
            [setting.python or sys.executable, "-P", str(HERE / "worker.py"), str(HERE / setting.module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env=environment | dict(setting.environment),
            start_new_session=True,  # Ctrl-C is for the bench, which then ends it
        )
        try:
            self._exchange(dict(setting.arguments))
        except BaseException:
            self.close()
            raise
        self.seconds = perf_counter() - begun
        """From starting the process until the engine was loaded."""

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def call(self, name: str, **arguments: Any) -> Any:
        """Have one of the calls made that its module offers.

        Raises:
            EngineFailedError: it raised, or the process died.
        """
        return self._exchange({"call": name, "arguments": arguments})

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def _exchange(self, message: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise EngineFailedError(f"{self._setting.engine} died: {self._last_words()}")
        reply = json.loads(line)
        if "error" in reply:
            raise EngineFailedError(self._explain(reply["error"]))
        return reply["result"]

    def _explain(self, error: str) -> str:
        if error.startswith("ModuleNotFoundError") and self._setting.install:
            return f"{self._setting.engine} is not installed: {self._setting.install}"
        return f"{self._setting.engine} failed: {error}"

    def _last_words(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        told = " ".join(self._stderr.read().decode(errors="replace").split())[-LAST_WORDS:]
        return f"exit code {code}. {told}"


class Processes:
    """Starts engines when they are first asked for; ends those that nobody needs any more."""

    def __init__(self) -> None:
        self._running: dict[str, Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.keep(())

    def get(self, setting: Setting) -> Process:
        """Return the engine set up so, running.

        Raises:
            EngineFailedError: it can't be loaded.
        """
        if setting.fresh:
            self._end(setting.key)
        if setting.key not in self._running:
            self._running[setting.key] = Process(setting)
        return self._running[setting.key]

    def keep(self, settings: Iterable[Setting]) -> None:
        """End all others."""
        wanted = {setting.key for setting in settings}
        for key in [key for key in self._running if key not in wanted]:
            self._end(key)

    def idle_seconds(self, but: Process) -> float:
        """Return how much processor time all engines but one have taken so far."""
        import psutil

        others = (process for process in self._running.values() if process is not but)
        times = [psutil.Process(process.pid).cpu_times() for process in others]
        return float(sum(each.user + each.system for each in times))

    def _end(self, key: str) -> None:
        if key in self._running:
            self._running.pop(key).close()
