"""Turns storage faults of SQLite, Chroma and the disk into one clear error."""

import errno
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from markgraph.errors import MarkError, StorageError


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise `StorageError` for whatever goes wrong with the files under `path`."""
    try:
        yield
    except MarkError:  # DeniedError is a PermissionError, and so an OSError
        raise
    except _faults() as error:
        if _is_full(error):
            raise StorageError(
                f"The disk that holds {path} is full ({error}). What was stored before is intact: "
                "free some space and run the same command again; it goes on where it stopped."
            ) from error
        raise StorageError(f"Could not read or write below {path}: {error}.") from error


def _faults() -> tuple[type[Exception], ...]:
    """Return what storage raises. Chroma takes a second to import; where it wasn't, it raises nothing."""
    chroma = sys.modules.get("chromadb.errors")
    return (OSError, sqlite3.Error, *((chroma.ChromaError,) if chroma else ()))


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


def _is_full(error: Exception) -> bool:
    """Tell a full disk, or a used-up quota, from other faults; SQLite and Chroma say it in words."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error)
