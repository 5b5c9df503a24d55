"""Seals threads that lie in clear or under an old key."""

from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from urllib.parse import unquote

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from markgraph.checkpoints.sealed import SealedCheckpointer, frame_in
from markgraph.errors import ShreddedError


def reseal(threads: SealedCheckpointer, progress: Callable[[int], object] = bool) -> int:
    """Seal what isn't, or is under an old key, and return how many threads were touched; can be repeated.

    Threads in clear are moved, so nobody else may use them meanwhile; those that are sealed stay in use.
    A thread is written before it is deleted: a kill loses nothing.
    """
    own = SealedCheckpointer(threads.kept, threads.seal, is_checked=True)
    moved = renewed = 0
    for thread in own.cells.thread_ids(sealed=False):
        _move(own, thread)
        moved += 1
        progress(1)
    own.cells.scrub()
    for thread in own.cells.thread_ids(sealed=True):
        try:
            renewed += _renew(own, thread)
        except ShreddedError:
            continue  # nobody can read it, so nobody can write it anew
        progress(1)
    return moved + renewed


def _move(threads: SealedCheckpointer, thread: str) -> None:
    """Put a thread that lies in clear where it belongs, oldest checkpoint first."""
    for found in reversed([*threads.kept.list({"configurable": {"thread_id": thread}})]):
        _put(threads, found)
        writes = sorted(found.pending_writes or [], key=itemgetter(0))
        for task, each in groupby(writes, key=itemgetter(0)):
            threads.put_writes(found.config, [(channel, value) for _, channel, value in each], task)
    threads.kept.delete_thread(thread)


def _renew(threads: SealedCheckpointer, thread: str) -> bool:
    """Seal a thread with the newest key of its tenant, and tell whether anything was not."""
    tenant = unquote(thread.split("/")[1])
    old = [cell for cell in threads.cells.cells(thread) if not threads.seal.is_current(tenant, cell.value)]
    for cell in old:
        opened = threads.seal.open(tenant, cell.about, cell.value)
        threads.cells.replace(cell, threads.seal.seal(tenant, cell.about, opened))
    outdated = [
        found
        for found in threads.kept.list({"configurable": {"thread_id": thread}})
        if not threads.seal.is_current(tenant, frame_in(found.metadata))
    ]
    for found in outdated:
        _put(threads, threads.opened(found))
    return bool(old or outdated)


def _put(threads: SealedCheckpointer, found: CheckpointTuple) -> None:
    """Store a checkpoint in its place, with all its values."""
    named = found.config["configurable"]
    parent = found.parent_config["configurable"].get("checkpoint_id") if found.parent_config else None
    after: RunnableConfig = {
        "configurable": {
            "thread_id": named["thread_id"],
            "checkpoint_ns": named.get("checkpoint_ns", ""),
            "checkpoint_id": parent,
        }
    }
    versions = {
        channel: version
        for channel, version in found.checkpoint["channel_versions"].items()
        if channel in found.checkpoint["channel_values"]
    }
    threads.put(after, found.checkpoint, found.metadata, versions)
