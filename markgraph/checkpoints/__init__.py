"""Checkpointers: where the threads of a conversation are kept, in clear or sealed."""

from typing import TYPE_CHECKING

from langgraph.checkpoint.memory import InMemorySaver

from markgraph.checkpoints.sealed import SealedCheckpointer
from markgraph.checkpoints.serializer import serializer
from markgraph.checkpoints.sqlite_saver import SqliteCheckpointer, open_sqlite
from markgraph.errors import MissingExtraError

if TYPE_CHECKING:
    from markgraph.checkpoints.postgres_saver import PostgresCheckpointer
    from markgraph.security.sealing.keyring import Keyring


def none() -> None:
    """Keep nothing."""


def memory() -> InMemorySaver:
    """Keep threads as long as the process lives."""
    return InMemorySaver(serde=serializer())


def sqlite(path: str, seal: "Keyring | None" = None) -> SqliteCheckpointer | SealedCheckpointer:
    """Keep threads in an SQLite file; sealed, where there is a keyring.

    Raises:
        StorageError: the file can't be opened, or is no SQLite file.
        SealError: it holds sealed threads, and there is no keyring.
    """
    kept = open_sqlite(path)
    if seal is not None:
        return SealedCheckpointer(kept, seal)
    kept.refuse_sealed()
    return kept


def postgres(
    conninfo: str = "", connections: int = 4, wait: float = 30, seal: "Keyring | None" = None
) -> "PostgresCheckpointer | SealedCheckpointer":
    """Keep threads in Postgres, which is connected to at the first use; sealed, where there is a keyring.

    Args:
        conninfo: what libpq takes: a URL, or `host=... dbname=...`.
        connections: at most so many at a time from this process.
        wait: seconds in which a Postgres that went away may come back.
        seal: None keeps them in clear.

    Raises:
        MissingExtraError: the driver is not installed.
    """
    try:
        from markgraph.checkpoints.postgres_saver import PostgresCheckpointer, SealedPostgresCheckpointer
    except ImportError as error:
        raise MissingExtraError(
            "Threads in Postgres need an extra: pip install 'markgraph[postgres]'"
        ) from error
    kept = PostgresCheckpointer(conninfo, connections, wait, sealed=seal is not None)
    return SealedPostgresCheckpointer(kept, seal) if seal is not None else kept


__all__ = ["SealedCheckpointer", "SqliteCheckpointer", "memory", "none", "postgres", "serializer", "sqlite"]
