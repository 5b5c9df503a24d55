"""Keeps a citation graph in an embedded LadybugDB (the successor of Kuzu): one file, no server."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markgraph.citations.cypher import CypherGraph, Run
from markgraph.errors import StorageError
from markgraph.security.sealing.keyring import Keyring

if TYPE_CHECKING:
    from ladybug import Connection

SCHEMA = (
    "CREATE NODE TABLE IF NOT EXISTS Passage(id STRING PRIMARY KEY)",
    "CREATE NODE TABLE IF NOT EXISTS CitationKey(key STRING PRIMARY KEY)",
    "CREATE REL TABLE IF NOT EXISTS CITES(FROM Passage TO CitationKey, kind STRING, text STRING,"
    " place INT64, rank INT64)",
    "CREATE REL TABLE IF NOT EXISTS ANSWERS_TO(FROM Passage TO CitationKey, term STRING)",
)
TABLES = "CALL show_tables() RETURN name"
BUFFER_POOL = 4 * 1024**3
"""Bytes of memory at most; with LadybugDB's default, most of the machine's, it opens ten times slower."""
LARGEST = 64 * 1024**3
"""Bytes of address space set aside for the file."""
LEFT = (".wal", ".wal.checkpoint", ".shadow")
"""What a file's name ends in that a killed writer leaves beside it."""


@dataclass
class LadybugGraph(CypherGraph):
    """Opens the file for each operation, and closes it.

    LadybugDB lets one process write while others read, but whoever opens it in the middle of a commit fails
    with `the WAL file is corrupted` or reads pages that don't fit together. A lock of our own, shared by
    readers, keeps them apart; held for milliseconds, it lets `serve` answer while `ingest` runs.
    """

    path: Path
    seal: Keyring | None = None
    _thread: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()

    @contextmanager
    def _reading(self) -> Iterator[Run | None]:
        if not self.path.exists():
            yield None
            return
        with self._thread:
            with self._locked(fcntl.LOCK_SH):
                if not self._was_interrupted():
                    with self._connected(read_only=True) as connection:
                        run = self._runner(connection)
                        if len(run(TABLES, {})) == len(SCHEMA):  # fewer where the first writer was killed
                            yield run
                            return
            with self._locked(fcntl.LOCK_EX), self._prepared() as run:
                yield run

    @contextmanager
    def _writing(self) -> Iterator[Run]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._thread, self._locked(fcntl.LOCK_EX), self._prepared() as run:
            run("BEGIN TRANSACTION", {})
            yield run
            run("COMMIT", {})  # closing without it undoes what was done

    def clear(self) -> None:
        """Forget everything, with its file, where deleted text would stay."""
        if not self.path.exists():
            return
        with self._thread, self._locked(fcntl.LOCK_EX):
            for end in ("", *LEFT):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    def _was_interrupted(self) -> bool:
        """Tell whether a writer was killed: what it left has to be put right by somebody who may write."""
        return any(self.path.with_name(self.path.name + end).exists() for end in LEFT)

    @contextmanager
    def _prepared(self) -> Iterator[Run]:
        """Open it to be written to, which puts right what a killed writer left, with its tables."""
        with self._connected(read_only=False) as connection:
            run = self._runner(connection)
            for statement in SCHEMA:
                run(statement, {})
            yield run

    @contextmanager
    def _locked(self, mode: int) -> Iterator[None]:
        handle = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, mode)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _connected(self, *, read_only: bool) -> Iterator["Connection"]:
        import ladybug

        try:
            database = ladybug.Database(
                self.path, read_only=read_only, buffer_pool_size=BUFFER_POOL, max_db_size=LARGEST
            )
        except RuntimeError as error:
            raise self._refused(error) from error
        try:
            connection = ladybug.Connection(database, num_threads=1)
            try:
                yield connection
            finally:
                connection.close()
        finally:
            database.close()

    def _runner(self, connection: "Connection") -> Run:
        def run(statement: str, parameters: dict[str, Any]) -> list[list[Any]]:
            try:
                result = connection.execute(statement, parameters)
                return [list(row) for row in result.get_all()]  # type: ignore[union-attr]
            except RuntimeError as error:
                raise self._refused(error) from error

        return run

    def _refused(self, error: RuntimeError) -> StorageError:
        return StorageError(
            f"Could not read or write the citations in {self.path}: {str(error).rstrip('.')}. They hold "
            "nothing that the documents don't: delete the file and ingest again."
        )
