"""Keeps threads in Postgres, and outlives its restarts."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg import Cursor
from psycopg.rows import DictRow, dict_row

from markgraph.checkpoints.cells import SEALED, Cell, refuse_without_keyring
from markgraph.checkpoints.clock import stay_behind
from markgraph.checkpoints.in_threads import InThreads
from markgraph.checkpoints.sealed import SealedCheckpointer
from markgraph.checkpoints.serializer import serializer
from markgraph.errors import StorageError
from markgraph.retrieval.postgres import Postgres

T = TypeVar("T")
PASSING = ("08", "40", "57P", "53300")
"""What the SQLSTATE of an error begins with that goes by: connections, deadlocks, shutdowns, crowds."""
_ONE_AT_A_TIME = "SELECT pg_advisory_lock(hashtextextended('markgraph checkpoints', 0))"
_THREADS = """
    SELECT DISTINCT thread_id FROM checkpoints WHERE starts_with(thread_id, %s) = %s ORDER BY 1
"""
_ANY = "SELECT thread_id FROM checkpoints WHERE starts_with(thread_id, %s) = %s LIMIT 1"
_VALUES = "SELECT * FROM checkpoint_blobs WHERE thread_id = %s AND blob IS NOT NULL"
_WRITES = "SELECT * FROM checkpoint_writes WHERE thread_id = %s"
_REPLACE_VALUE = """UPDATE checkpoint_blobs SET blob = %s WHERE (thread_id, checkpoint_ns, channel, version)
    = (%s, %s, %s, %s) AND blob = %s"""
_REPLACE_WRITE = """UPDATE checkpoint_writes SET blob = %s WHERE
    (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) = (%s, %s, %s, %s, %s) AND blob = %s"""


class PostgresCheckpointer(InThreads, PostgresSaver):
    """LangGraph's Postgres saver on a pool whose connections are looked at before they are used.

    Connects at the first use. What it does can be done twice, so a Postgres that goes away in between is
    waited for, and asked again.
    """

    whole = False

    def __init__(
        self, conninfo: str, connections: int = 4, wait: float = 30, *, sealed: bool = False
    ) -> None:
        """Remember where to connect to."""
        super().__init__(cast(Any, None), serde=serializer())
        self.database = Postgres(conninfo, connections)
        self.wait = wait
        self._sealed = sealed
        self._is_ready = False

    @property
    def place(self) -> str:
        """Return where it is, without secrets."""
        return f"Postgres ({self.database.place})"

    def setup(self) -> None:
        """Make the tables, one process after the other."""
        # Not through the pool: indexes that are made concurrently take no transaction around them.
        with psycopg.connect(self.database.conninfo, autocommit=True) as connection:
            connection.execute(_ONE_AT_A_TIME)
            PostgresSaver(cast(Any, connection)).setup()

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` names, or the thread's last."""
        get_tuple = super().get_tuple
        return stay_behind(self._patiently(lambda: get_tuple(config)))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 -- the base class's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield the checkpoints that match, newest first."""
        listed = super().list
        yield from self._patiently(lambda: [*listed(config, filter=filter, before=before, limit=limit)])

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint."""
        put = super().put
        return self._patiently(lambda: put(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written."""
        put_writes = super().put_writes
        self._patiently(lambda: put_writes(config, writes, task_id, task_path))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Forget threads, or all but their last checkpoints."""
        await asyncio.to_thread(self.prune, thread_ids, strategy=strategy)

    def thread_ids(self, *, sealed: bool) -> Iterator[str]:
        """Yield the ids of threads, those that are sealed or the others."""
        with self._cursor() as cursor:
            first = cursor.execute(_ANY, (SEALED, sealed)).fetchone()
        if first:
            with self._cursor() as cursor:
                rows = cursor.execute(_THREADS, (SEALED, sealed)).fetchall()
            yield from (row["thread_id"] for row in rows)

    def cells(self, thread: str) -> Iterator[Cell]:
        """Yield the values of a thread, and what its tasks wrote."""
        with self._cursor() as cursor:
            values = cursor.execute(_VALUES, (thread,)).fetchall()
            writes = cursor.execute(_WRITES, (thread,)).fetchall()
        for row in values:
            where = (thread, row["checkpoint_ns"], row["channel"], row["version"])
            yield Cell((_REPLACE_VALUE, *where), ("thread's value", *where), row["blob"])
        for row in writes:
            where = (thread, row["checkpoint_ns"], row["checkpoint_id"], row["task_id"])
            about = ("thread's write", *where, row["channel"])
            yield Cell((_REPLACE_WRITE, *where, row["idx"]), about, row["blob"])

    def replace(self, cell: Cell, value: bytes) -> None:
        """Replace what a cell holds, unless somebody else did."""
        statement, *where = cell.key
        with self._cursor() as cursor:
            cursor.execute(statement, (value, *where, cell.value))

    def scrub(self) -> None:
        """Have Postgres write its tables anew, without what was deleted."""
        with psycopg.connect(self.database.conninfo, autocommit=True) as connection:
            for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes"):
                connection.execute(f"VACUUM FULL {table}".encode())

    @contextmanager
    def _cursor(self, *, pipeline: bool = False) -> Iterator[Cursor[DictRow]]:
        self._prepare()
        with self.database.connection() as connection:
            if pipeline:
                with connection.pipeline(), connection.cursor(binary=True, row_factory=dict_row) as cursor:
                    yield cursor
            else:
                with connection.cursor(binary=True, row_factory=dict_row) as cursor:
                    yield cursor

    def _prepare(self) -> None:
        """Make the tables at the first use, and refuse sealed threads where there is no keyring."""
        if self._is_ready:
            return
        with self.database.connection():
            pass  # says what is wrong, without secrets
        self.setup()
        self._is_ready = True
        if not self._sealed and next(self.thread_ids(sealed=True), None) is not None:
            self._is_ready = False
            refuse_without_keyring(self.place)

    def _patiently(self, act: Callable[[], T]) -> T:
        """Do it again while Postgres is away, up to `wait` seconds; it must have been there before."""
        until = time.monotonic() + self.wait
        while True:
            try:
                return act()
            except StorageError as error:
                if not self._is_ready or not _is_passing(error.__cause__) or time.monotonic() > until:
                    raise
            time.sleep(random.uniform(0.05, 0.5))  # noqa: S311 -- so that not all come back at once


class SealedPostgresCheckpointer(SealedCheckpointer):
    """The same, sealed; Postgres alone can prune."""

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Forget threads, or all but their last checkpoints."""
        self.kept.prune([self.stored_id(thread) for thread in thread_ids], strategy=strategy)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Do the same without blocking."""
        await asyncio.to_thread(self.prune, thread_ids, strategy=strategy)


def _is_passing(cause: BaseException | None) -> bool:
    return isinstance(cause, psycopg.OperationalError) and (
        cause.sqlstate is None or cause.sqlstate.startswith(PASSING)
    )
