"""Checkpointers: where the threads of a conversation are kept."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from markgraph.errors import StorageError

_BUSY_SECONDS = 30.0
_FORMATS = ("msgpack", "null", "bytes", "bytearray")


class _Strict(JsonPlusSerializer):
    """Reads what it writes: the older JSON rows may name any serialisable class of langchain-core."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if data[0] not in _FORMATS:
            raise StorageError(
                f"A thread holds a value of format {data[0]!r}. Allowed: {', '.join(_FORMATS)}. MARK never "
                "wrote it: don't trust that file, go on with another."
            )
        return super().loads_typed(data)


def serializer() -> JsonPlusSerializer:
    """Return a serializer that makes plain data and LangChain's messages, and no other object, from a row."""
    return _Strict(pickle_fallback=False, allowed_msgpack_modules=None)


def none() -> None:
    """Keep nothing."""


def memory() -> InMemorySaver:
    """Keep threads as long as the process lives."""
    return InMemorySaver(serde=serializer())


def sqlite(path: str) -> "SqliteCheckpointer":
    """Keep threads in an SQLite file.

    Raises:
        StorageError: the file can't be opened, or is no SQLite file.
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


class SqliteCheckpointer(SqliteSaver):
    """LangGraph's SQLite saver, usable from `ainvoke` too: its async forms run the sync ones in a thread."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` names, or the thread's last."""
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 -- the base class's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield the checkpoints that match, newest first."""

        def found() -> list[CheckpointTuple]:
            return list(self.list(config, filter=filter, before=before, limit=limit))

        for checkpoint in await asyncio.to_thread(found):
            yield checkpoint

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint."""
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task has written."""
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Forget a thread."""
        await asyncio.to_thread(self.delete_thread, thread_id)
