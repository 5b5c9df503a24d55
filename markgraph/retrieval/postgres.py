"""Connects to Postgres, and keeps its password out of what is printed."""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markgraph.errors import ConfigError, MarkError, MissingExtraError, StorageError

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed
    from psycopg_pool import ConnectionPool

PATIENCE = 10
"""Seconds to wait for a connection."""
_EXTRA = "Postgres needs an extra: pip install 'markgraph[postgres]'"
HIDDEN = ("password", "sslpassword", "passfile", "service")


@dataclass
class Postgres:
    """A pool of connections, opened at the first use."""

    conninfo: str = field(repr=False)
    connections: int = 4
    _pool: "ConnectionPool[Connection[Any]] | None" = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @contextmanager
    def connection(self) -> "Iterator[Connection[Any]]":
        """Hold a connection, in one transaction: committed at the end, undone when something is raised.

        Raises:
            StorageError: Postgres can't be reached, or fails.
        """
        try:
            import psycopg
            import psycopg_pool  # noqa: F401  # the one extra has both
        except ImportError as error:
            raise MissingExtraError(_EXTRA) from error

        try:
            with self._open().connection() as connection:
                yield connection
        except MarkError:
            raise
        except psycopg.Error as error:
            said = str(error).strip()
            said += "" if said.endswith((".", "?")) else "."
            raise StorageError(
                f"Postgres ({self.place}) did not do what was asked: {said} "
                "Is it running, and does it have pgvector 0.8 or later?"
            ) from error

    @property
    def place(self) -> str:
        """Return where it is, without secrets.

        Raises:
            ConfigError: the connection string is none.
        """
        try:
            from psycopg import ProgrammingError
            from psycopg.conninfo import conninfo_to_dict
        except ImportError as error:
            raise MissingExtraError(_EXTRA) from error

        try:
            parts = conninfo_to_dict(self.conninfo)
        except ProgrammingError:
            raise ConfigError(
                "The connection string is none that libpq takes; it isn't shown, since it may hold a "
                "password. Allowed: "
                "postgresql://USER@HOST:PORT/DATABASE, or host=HOST dbname=DATABASE user=USER."
            ) from None
        return " ".join(f"{key}={value}" for key, value in parts.items() if key not in HIDDEN) or "by PGHOST"

    def vacuum(self, statement: "Composed") -> None:
        """Run a statement that takes no transaction around it."""
        import psycopg

        with psycopg.connect(self.conninfo, autocommit=True, connect_timeout=PATIENCE) as connection:
            connection.execute(statement)

    def _open(self) -> "ConnectionPool[Connection[Any]]":
        import psycopg
        from psycopg_pool import ConnectionPool

        place = self.place  # refuses what is no connection string, without showing it
        with self._lock:
            if self._pool is None:
                # A pool would say only that it waited.
                psycopg.connect(self.conninfo, connect_timeout=PATIENCE).close()
                self._pool = ConnectionPool(
                    self.conninfo,
                    min_size=0,
                    max_size=self.connections,
                    timeout=PATIENCE,
                    name=f"markgraph {place}",
                    check=ConnectionPool.check_connection,
                    # A prepared plan would not heed settings that a transaction makes.
                    kwargs={"prepare_threshold": None},
                    open=True,
                )
                weakref.finalize(self, self._pool.close)
            return self._pool
