"""Turns storage faults of SQLite, Chroma and the disk into one clear error."""

import errno
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from markgraph.errors import FullDiskError, MarkError, StorageError

PATIENCE = 30
"""Seconds to wait for others that write to the same file."""


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise `StorageError` for whatever goes wrong with the files under `path`."""
    try:
        yield
    except MarkError:  # DeniedError is a PermissionError, and so an OSError
        raise
    except faults() as error:
        if is_full(error):
            raise FullDiskError(
                f"The disk that holds {path} is full ({error}). What was stored before is intact: "
                "free some space and run the same command again; it goes on where it stopped."
            ) from error
        raise StorageError(f"Could not read or write below {path}: {error}.") from error


def faults() -> tuple[type[Exception], ...]:
    """Return what storage raises. Chroma takes a second to import; where it wasn't, it raises nothing."""
    chroma, psycopg = sys.modules.get("chromadb.errors"), sys.modules.get("psycopg")
    return (
        OSError,
        sqlite3.Error,
        *((chroma.ChromaError,) if chroma else ()),
        *((psycopg.Error,) if psycopg else ()),
    )


def open_database(path: Path, layout: int, schema: str) -> sqlite3.Connection:
    """Open an SQLite file that several processes share, making what is in it where there is nothing.

    Args:
        path: the file.
        layout: the `user_version` of its tables.
        schema: statements that make them, and do nothing where they are.

    Raises:
        StorageError: it has another layout.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, check_same_thread=False, timeout=PATIENCE, isolation_level=None)
    try:
        _write_ahead(database)
        found, is_empty = _layout(database)
        if found != layout and not (found == 0 and is_empty):
            raise StorageError(
                f"{path} has the layout of another version of markgraph ({found}, not {layout}). "
                "Ingest again into another collection (collection=NAME), or delete its folder."
            )
        if found != layout:  # all at once: a kill leaves nothing, and others may do the same at this moment
            database.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {layout}; COMMIT;")
    except BaseException:
        database.close()
        raise
    return database


def _layout(database: sqlite3.Connection) -> tuple[int, bool]:
    """Return the layout of the tables, and whether there are none, both at one moment."""
    query = "SELECT user_version, NOT EXISTS (SELECT 1 FROM sqlite_master) FROM pragma_user_version"
    version, is_empty = database.execute(query).fetchone()
    return version, bool(is_empty)


def _write_ahead(database: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. SQLite does not wait for others here, however long its timeout."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def write_whole(file: Path, text: str) -> None:
    """Replace what `file` holds by `text` in one step, which outlasts a power cut."""
    new = file.with_name(f"{file.name}.new")
    with new.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_full(error: Exception) -> bool:
    """Tell a full disk, or a used-up quota, from other faults; SQLite and Chroma say it in words."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error)
