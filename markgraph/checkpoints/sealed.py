"""Seals threads before a saver gets them: each value, what a task wrote, and what is noted of a checkpoint.

A layer around a saver, not a serializer within it: Postgres keeps plain values past the serializer, in clear,
and every saver does so with metadata. LangGraph would also replace a subclass of its own EncryptedSerializer.

What stays in clear: the name of the tenant, names of nodes and channels, the order and the times of steps,
`source` and `step`. A thread's own name is a client's text, so only its HMAC is kept.
"""

from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote, unquote

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from markgraph.checkpoints.cells import SEALED, Cells
from markgraph.checkpoints.in_threads import InThreads
from markgraph.checkpoints.serializer import serializer
from markgraph.errors import SealError
from markgraph.security.sealing.keyring import Keyring

FILTERS = ("source", "step")
"""The metadata that a saver can filter by."""
IN_CLEAR = (*FILTERS, "counters_since_delta_snapshot", "delta_writes_versioned")
"""These counts are asked for before pruning. Everything else is sealed; what a config adds is left out."""
FRAME = WHOLE = "sealed"
_NAMED = ("checkpoint_ns", "checkpoint_id")


class SealedCheckpointer(InThreads):
    """A saver whose rows open only for their tenant, thread, place, channel and version.

    Rows that are not sealed are refused, also where somebody put them among sealed ones.
    """

    def __init__(self, kept: Any, seal: Keyring, *, is_checked: bool = False) -> None:
        """Wrap `kept`, a saver that has `Cells`, too; `is_checked` lets in those that are in clear."""
        super().__init__(serde=serializer())
        self.kept: BaseCheckpointSaver[str] = kept
        self.cells: Cells = kept
        self.seal = seal
        self._is_checked = is_checked

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> "SealedCheckpointer":  # noqa: ARG002
        """Return itself: what may come out of a row is fixed, whatever a graph's state names."""
        return self

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return the version after `current`."""
        return self.kept.get_next_version(current, channel)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that `config` names, or the thread's last."""
        self._check()
        found = self.kept.get_tuple(self._stored(config))
        return self.opened(found) if found else None

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 -- the base class's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield the checkpoints that match, newest first."""
        self._check()
        asked = filter or {}
        clear = {key: value for key, value in asked.items() if key in FILTERS}
        found = self.kept.list(
            self._stored(config) if config else None,
            filter=clear or None,
            before=self._stored(before) if before else None,
            limit=limit if clear == asked else None,
        )
        left = -1 if limit is None else limit
        for each in found if left else ():
            opened = self.opened(each)
            if all(opened.metadata.get(key) == value for key, value in asked.items()):
                yield opened
                left -= 1
            if not left:
                return

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint."""
        self._check()
        stored = self._stored(config)
        thread, row = str(config["configurable"]["thread_id"]), _Row.of(stored)
        values = self._sealed_values(row, checkpoint, new_versions)
        frame = self._sealed(row, _frame_of(row, checkpoint["id"]), (thread, dict(metadata)))
        noted = {key: metadata[key] for key in IN_CLEAR if key in metadata}  # type: ignore[literal-required]
        kept = self.kept.put(
            stored,
            cast(Checkpoint, {**checkpoint, "channel_values": values}),
            cast(CheckpointMetadata, noted | {FRAME: b64encode(frame).decode()}),
            new_versions,
        )
        return _renamed(kept, thread)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task has written."""
        self._check()
        stored = self._stored(config)
        row, checkpoint = _Row.of(stored), stored["configurable"]["checkpoint_id"]
        sealed = [
            (channel, self._sealed(row, _write_of(row, checkpoint, task_id, channel), value))
            for channel, value in writes
        ]
        self.kept.put_writes(stored, sealed, task_id, task_path)

    def delete_thread(self, thread_id: str) -> None:
        """Forget a thread."""
        self.kept.delete_thread(self.stored_id(thread_id))

    def opened(self, found: CheckpointTuple) -> CheckpointTuple:
        """Return a checkpoint as it was put, from what is kept of it.

        Raises:
            SealError: something of it is not sealed, or was sealed as something else.
        """
        row, checkpoint = _Row.of(found.config), found.checkpoint
        thread, metadata = self._open(row, _frame_of(row, checkpoint["id"]), frame_in(found.metadata))
        if self.stored_id(thread) != row.thread:
            raise SealError(
                "A checkpoint lies in another thread than it was sealed for. Don't trust that file."
            )
        values = self._open_values(row, checkpoint)
        writes = [
            (task, channel, self._open(row, _write_of(row, checkpoint["id"], task, channel), value))
            for task, channel, value in found.pending_writes or []
        ]
        parent = found.parent_config and _renamed(found.parent_config, thread)
        whole = cast(Checkpoint, {**checkpoint, "channel_values": values})
        return CheckpointTuple(_renamed(found.config, thread), whole, metadata, parent, writes)

    def stored_id(self, thread: str) -> str:
        """Return the id under which a thread is kept: the tenant, and an HMAC of the whole."""
        parts = str(thread).split(":")
        tenant = unquote(parts[0]) if len(parts) == 3 else ""
        name = urlsafe_b64encode(self.seal.hasher(tenant, "thread")(str(thread))[:24]).decode()
        return f"{SEALED}{quote(tenant, safe='')}/{name}"

    def _stored(self, config: RunnableConfig) -> RunnableConfig:
        """Return a config that names what is kept, and nothing that a saver would note of it in clear."""
        given = config["configurable"]
        named = {key: given[key] for key in _NAMED if key in given}
        if "thread_id" in given:
            named["thread_id"] = self.stored_id(given["thread_id"])
        return {"configurable": named}

    def _check(self) -> None:
        """Refuse to go on where threads lie in clear: once, for those that are written later are refused."""
        if self._is_checked:
            return
        if next(self.cells.thread_ids(sealed=False), None) is not None:
            raise SealError(
                f"Threads in {self.cells.place} are not sealed, and seal=keyring takes no others. Run "
                "`markgraph keys reseal seal=keyring` once, or go on with seal=none."
            )
        self._is_checked = True

    def _sealed_values(
        self, row: "_Row", checkpoint: Checkpoint, new_versions: ChannelVersions
    ) -> dict[str, bytes]:
        """Return what is kept of the values: one seal over all, or one for each where they have rows."""
        values = checkpoint["channel_values"]
        if self.cells.whole:
            return {WHOLE: self._sealed(row, _values_of(row, checkpoint["id"]), values)}
        return {
            channel: self._sealed(row, _value_of(row, checkpoint, channel), value)
            if channel in new_versions
            else b""  # which is kept already, and not written again
            for channel, value in values.items()
        }

    def _open_values(self, row: "_Row", checkpoint: Checkpoint) -> dict[str, Any]:
        values = checkpoint["channel_values"]
        if self.cells.whole:
            opened: dict[str, Any] = self._open(row, _values_of(row, checkpoint["id"]), values.get(WHOLE))
            return opened
        return {
            channel: self._open(row, _value_of(row, checkpoint, channel), value)
            for channel, value in values.items()
        }

    def _sealed(self, row: "_Row", about: tuple[str, ...], value: Any) -> bytes:
        form, data = self.serde.dumps_typed(value)
        return self.seal.seal(row.tenant, about, form.encode() + b"\0" + data)

    def _open(self, row: "_Row", about: tuple[str, ...], sealed: Any) -> Any:
        form, _, data = self.seal.open(row.tenant, about, sealed).partition(b"\0")
        return self.serde.loads_typed((form.decode(), data))


class _Row:
    """Where something is kept."""

    def __init__(self, thread: str, space: str) -> None:
        self.thread, self.space = thread, space
        if not thread.startswith(SEALED):
            raise SealError(f"Thread {thread!r} is not sealed. Run `markgraph keys reseal seal=keyring`.")
        self.tenant = unquote(thread.split("/")[1])

    @classmethod
    def of(cls, config: RunnableConfig) -> "_Row":
        named = config["configurable"]
        return cls(named["thread_id"], named.get("checkpoint_ns", ""))


def frame_in(metadata: Mapping[str, Any]) -> bytes:
    """Return what is sealed in a checkpoint's metadata; nothing where it isn't."""
    return b64decode(str(metadata.get(FRAME, "")))


def _value_of(row: _Row, checkpoint: Checkpoint, channel: str) -> tuple[str, ...]:
    version = str(checkpoint["channel_versions"].get(channel, ""))
    return ("thread's value", row.thread, row.space, channel, version)


def _values_of(row: _Row, checkpoint_id: str) -> tuple[str, ...]:
    return ("thread's values", row.thread, row.space, checkpoint_id)


def _frame_of(row: _Row, checkpoint_id: str) -> tuple[str, ...]:
    return ("thread's checkpoint", row.thread, row.space, checkpoint_id)


def _write_of(row: _Row, checkpoint_id: str, task: str, channel: str) -> tuple[str, ...]:
    return ("thread's write", row.thread, row.space, checkpoint_id, task, channel)


def _renamed(config: RunnableConfig, thread: str) -> RunnableConfig:
    return {"configurable": config["configurable"] | {"thread_id": thread}}
