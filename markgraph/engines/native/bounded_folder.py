"""A folder of files within a bound in bytes, which several processes may use at once."""

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from markgraph.errors import StorageError

_LOCK_SECONDS = 10.0


class BoundedFolder:
    """Files that are written whole or not at all; those used least recently make room for new ones.

    Files of other names than its own it leaves alone.
    """

    def __init__(self, path: Path, max_bytes: int, own: re.Pattern[str]) -> None:
        """Make the folder if it is missing, for its owner alone.

        Args:
            path: the folder.
            max_bytes: bound on what its files take together.
            own: what the names of its files look like.

        Raises:
            StorageError: it can't be made.
        """
        self.evictions = 0
        self._path = path
        self._max_bytes = max_bytes
        self._own = own
        self._writes = 0
        self._seen = (-1, 0)
        self._names: frozenset[str] = frozenset()
        self._lock = FileLock(path / ".lock", timeout=_LOCK_SECONDS)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The folder {path} can't be made: {error.strerror}. Name one that can be written to."
            ) from error

    @property
    def path(self) -> Path:
        """Return where it is."""
        return self._path

    def names(self) -> frozenset[str]:
        """Return the names of its files; reads the folder only when something was added or removed.

        Empty when it can't be read.
        """
        try:
            # A file that is added within the clock's tick doesn't change the time once more.
            changed = (self._path.stat().st_mtime_ns, self._writes)
            if changed != self._seen:
                self._names = frozenset(name for name in os.listdir(self._path) if self._own.fullmatch(name))
                self._seen = changed
        except OSError:
            return frozenset()
        return self._names

    def read(self, name: str) -> bytes:
        """Return what is in a file.

        Raises:
            OSError: it can't be read, for example because it made room for another.
        """
        return (self._path / name).read_bytes()

    def touch(self, name: str, rank: int) -> None:
        """Take note that a file was used now; of those that are used at once, the highest rank goes first."""
        stamp = time.time_ns() - rank
        with contextlib.suppress(OSError):
            os.utime(self._path / name, ns=(stamp, stamp))

    def drop(self, name: str) -> None:
        """Delete a file, if it is there."""
        with contextlib.suppress(OSError):
            (self._path / name).unlink()

    def write(self, name: str, content: bytes, rank: int) -> bool:
        """Write a file, if it fits the bound at all, and delete the least recently used until it does.

        Raises:
            OSError: it could not be written, for example because the disk is full; nothing is left of it.
            filelock.Timeout: another process is writing for longer than ten seconds.
        """
        with self._lock:
            if not self._make_room(len(content)):
                return False
            part = self._path / f"{secrets.token_hex(8)}.part"
            try:
                with open(part, "xb", opener=_for_owner) as out:
                    out.write(content)
                    out.flush()
                    os.fsync(out.fileno())
                os.replace(part, self._path / name)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            self.touch(name, rank)
            self._writes += 1
        return True

    def _make_room(self, nbytes: int) -> bool:
        """Delete what stands in the way of `nbytes` more. Only who holds the lock may do this."""
        for part in self._path.glob("*.part"):
            # Whoever wrote it is gone: it would hold the lock.
            part.unlink(missing_ok=True)
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        if nbytes > self._max_bytes:
            return False
        for _, size, name in files:
            if used + nbytes <= self._max_bytes:
                break
            self.drop(name)
            self.evictions += 1
            used -= size
        return True

    def _files(self) -> Iterator[tuple[int, int, str]]:
        """Yield when each file was used last, its size and its name."""
        with os.scandir(self._path) as entries:
            for entry in entries:
                if self._own.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        found = entry.stat()
                        yield found.st_mtime_ns, found.st_size, entry.name


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
