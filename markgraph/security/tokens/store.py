"""The SQLite file that holds what this installation knows of tokens; for its owner's eyes only."""

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from markgraph.errors import StorageError

_TABLES = """
create table if not exists clients (id text primary key, secret blob not null, claims text not null);
create table if not exists api_keys (id text primary key, secret blob not null, claims text not null,
    expires real not null, used real, revoked real);
create table if not exists signing_keys (kid text primary key, jwk text not null, signs real not null);
create table if not exists revoked (jti text primary key, until real not null);
create table if not exists sessions (id blob primary key, claims text not null, until real not null);
"""
"""Secrets are hashes, and what anybody could look up by them. Times are seconds since 1970."""
_BUSY_SECONDS = 30.0


class AuthStore:
    """Opens its file when it is first used, with mode 0600."""

    def __init__(self, path: str) -> None:
        """Remember the path; touch nothing."""
        self.path = Path(path).expanduser()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self.transaction() as connection:
            return connection.execute(sql, values).fetchall()

    def change(self, sql: str, *values: Any) -> int:
        """Change something, and return how many rows that were."""
        with self.transaction() as connection:
            return connection.execute(sql, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do several things at once, or none of them.

        Raises:
            StorageError: the file can't be read or written, or others may read it.
        """
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = self._open()
                with self._connection:
                    yield self._connection
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"Could not use the tokens' file {self.path}: {error}.") from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600))
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            raise StorageError(
                f"{self.path} holds keys, and others may read it (mode {mode:o}). Run: chmod 600 {self.path}"
            )
        connection = sqlite3.connect(self.path, check_same_thread=False, timeout=_BUSY_SECONDS)
        connection.executescript(_TABLES)
        return connection
