"""Asks a DuckDB file, which stays as it is, in a process of its own.

The process has limits that DuckDB itself does not keep: its `memory_limit` counts buffers, and not the
gigabyte that `repeat('x', 1000000000)` makes. Does NOT include permissions within a file: DuckDB has none for
rows, so each tenant needs a file of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from markgraph.errors import ConfigError, MarkError, MissingExtraError, SandboxError

_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR")
"""What the process sees of the environment: no keys, no tokens."""
_GRACE = 10
"""Seconds beside those of the statement, in which Python starts, maybe on a busy machine."""


class Table(NamedTuple):
    """What a statement gives."""

    columns: list[str]
    rows: list[list[Any]]
    """Plain values; what JSON has no form for, as text."""
    is_cut: bool
    """Whether there were more rows."""


@dataclass(frozen=True)
class ReadOnlySql:
    """Answers one `SELECT` at a time over the tables of one file, and nothing beside them."""

    path: Path
    max_rows: int = 200
    max_bytes: int = 1 << 18
    """How large an answer may be, as JSON."""
    seconds: float = 2
    memory: int = 1024
    """MiB of address space; DuckDB's own takes some 300."""
    max_characters: int = 4000
    """How long a statement may be."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> Table:
        """Return what `sql` gives; each `?` in it stands for one of the parameters.

        Raises:
            SandboxError: it is not one SELECT over the file's own tables, is wrong, or takes too much.
            MissingExtraError: DuckDB is not installed.
            MarkError: the process that asks the database does not start.
        """
        if find_spec("duckdb") is None:
            raise MissingExtraError("Asking a database needs DuckDB: pip install 'markgraph[tools]'.")
        if not self.path.is_file():
            raise ConfigError(f"There is no database {self.path}. Allowed: a file that DuckDB has written.")
        if len(sql) > self.max_characters:
            raise SandboxError(
                f"The statement has {len(sql):,} characters; {self.max_characters:,} are allowed."
            )
        answer = self._ask({"sql": sql, "parameters": list(parameters)} | asdict(self))
        if "error" in answer:
            raise SandboxError(answer["error"])
        return Table(answer["columns"], answer["rows"], answer["is_cut"])

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the process answers."""
        # Into a file, whose size the process can't help being limited; a pipe would be read to its end.
        with tempfile.TemporaryFile() as answer:
            try:
                done = subprocess.run(
                    [sys.executable, "-P", "-m", "markgraph.sandbox.sql_worker"],
                    input=json.dumps(request, default=str).encode(),
                    stdout=answer,
                    stderr=subprocess.DEVNULL,
                    timeout=self.seconds + _GRACE,
                    env={name: os.environ[name] for name in _KEPT if name in os.environ},
                )
            except subprocess.TimeoutExpired as error:
                raise SandboxError(f"The statement took longer than {self.seconds:g} s.") from error
            answer.seek(0)
            text = answer.read()
        if done.returncode > 0:
            raise MarkError(
                f"The process that asks databases failed (exit {done.returncode}). To see why, run "
                f"`{sys.executable} -P -m markgraph.sandbox.sql_worker`."
            )
        if done.returncode or not text:
            raise SandboxError(
                f"The statement ended the process that ran it ({done.returncode}): it takes more than "
                f"{self.memory:,} MiB of memory, {self.seconds:g} s or {self.max_bytes:,} bytes of answer. "
                "Ask for less."
            )
        found: dict[str, Any] = json.loads(text)
        return found
