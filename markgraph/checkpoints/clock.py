"""Keeps the order of checkpoints where a clock was set back."""

import time
from uuid import UUID

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.base import id as ids

_TICKS = 10_000_000
"""Of a UUID's clock in a second."""
_EPOCH = 0x01B21DD213814000
"""Ticks from the year 1582 to 1970."""
FURTHEST = 100 * 365 * 24 * 3600
"""Seconds: what claims to be from behind that is no checkpoint's time."""


def stay_behind(found: CheckpointTuple | None) -> CheckpointTuple | None:
    """Have the ids that this process makes from now on sort behind that of `found`, and return it.

    A checkpoint's id is a UUID of version 6, and a thread goes on from the greatest. LangGraph sees to it
    that they grow within a process. Another process, with its clock set back, would add to a thread what
    sorts before its last checkpoint, and so is lost.
    """
    ticks = _ticks(found.checkpoint["id"]) if found else 0
    if (ids._last_v6_timestamp or 0) < ticks < _EPOCH + int(time.time() + FURTHEST) * _TICKS:
        ids._last_v6_timestamp = ticks  # type: ignore[assignment]  # it says it is always None
    return found


def _ticks(id_: str) -> int:
    """Return the time in a UUID of version 6; 0 for anything else."""
    try:
        value = UUID(id_)
    except ValueError:
        return 0
    return (value.int >> 80) << 12 | (value.int >> 64) & 0xFFF if value.version == 6 else 0
