"""Keeps threads in an SQLite file."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.sqlite import SqliteSaver

from markgraph.checkpoints.cells import SEALED, Cell, refuse_without_keyring
from markgraph.checkpoints.clock import stay_behind
from markgraph.checkpoints.in_threads import InThreads
from markgraph.checkpoints.serializer import serializer
from markgraph.errors import StorageError

_BUSY_SECONDS = 30.0
_WRITES = """
    SELECT rowid, checkpoint_ns, checkpoint_id, task_id, channel, value FROM writes WHERE thread_id = ?
"""


class SqliteCheckpointer(InThreads, SqliteSaver):
    """LangGraph's SQLite saver, usable from `ainvoke` too."""

    whole = True
    """Each checkpoint's row holds every value."""

    @property
    def place(self) -> str:
        """Return the file."""
        return str(self.conn.execute("SELECT file FROM pragma_database_list").fetchone()[0])

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` names, or the thread's last."""
        return stay_behind(super().get_tuple(config))

    @contextlib.contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """Hold a cursor; what was done with it is kept altogether, or, where something is raised, undone.

        The base class would keep a part of a task's writes where the disk fills up, and take it for all.
        """
        with self.lock, contextlib.closing(self.conn.cursor()) as cursor:
            try:
                yield cursor
            except BaseException:
                self.conn.rollback()
                raise
            if transaction:
                self.conn.commit()

    def refuse_sealed(self) -> None:
        """Refuse to go on without a keyring where threads are sealed.

        Raises:
            SealError: some are.
        """
        if next(self.thread_ids(sealed=True), None) is not None:
            refuse_without_keyring(self.place)

    def thread_ids(self, *, sealed: bool) -> Iterator[str]:
        """Yield the ids of threads, those that are sealed or the others."""
        after = ""
        while True:
            with self.cursor(transaction=False) as cursor:
                query = "SELECT min(thread_id) FROM checkpoints WHERE thread_id > ?"
                found = cursor.execute(query, (after,)).fetchone()[0]
            if found is None:
                return
            after = found
            if found.startswith(SEALED) is sealed:
                yield found
            elif not sealed:
                after = _behind(SEALED)

    def cells(self, thread: str) -> Iterator[Cell]:
        """Yield what a thread holds outside of its checkpoints' rows."""
        with self.cursor(transaction=False) as cursor:
            rows = cursor.execute(_WRITES, (thread,)).fetchall()
        for row, space, checkpoint, task, channel, value in rows:
            yield Cell((row,), ("thread's write", thread, space, checkpoint, task, channel), value)

    def replace(self, cell: Cell, value: bytes) -> None:
        """Replace what a cell holds, unless somebody else did."""
        with self.cursor() as cursor:
            update = "UPDATE writes SET value = ? WHERE rowid = ? AND value = ?"
            cursor.execute(update, (value, *cell.key, cell.value))

    def scrub(self) -> None:
        """Overwrite what was deleted from the file."""
        with self.lock:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                self.conn.execute(statement).fetchall()


def open_sqlite(path: str) -> SqliteCheckpointer:
    """Open the file, made where there is none.

    Raises:
        StorageError: it can't be opened, or is no SQLite file.
    """
    place = Path(path).expanduser()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            connection = sqlite3.connect(place, check_same_thread=False, timeout=_BUSY_SECONDS)
            undo.callback(connection.close)
            checkpointer = SqliteCheckpointer(connection, serde=serializer())
            _set_up(checkpointer)
            undo.pop_all()
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"Could not open the threads in {place}: {error}.") from error
    return checkpointer


def _set_up(checkpointer: SqliteSaver) -> None:
    """Make the tables, trying again while another connection is making them.

    SQLite waits by itself for a lock, but not where waiting could last forever: two connections that both
    read a new file and both want to give it a write-ahead log are told at once that it is locked.
    """
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            return checkpointer.setup()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(0.02)


def _behind(prefix: str) -> str:
    """Return what sorts behind everything that begins with `prefix`."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
