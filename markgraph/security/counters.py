"""Counts what callers have used: in this process, or in a Redis that several servers share."""

import math
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from limits.storage.base import SlidingWindowCounterSupport

MINUTE = 60
"""Seconds of the sliding window in which uses are counted."""
_UNLIMITED = 2**53


class Counters(Protocol):
    """Counts uses in a sliding window of a minute, and leases of what is limited at once.

    Safe to call from several threads. A key names a caller and what is counted.
    """

    def hit(self, key: str, limit: int) -> float:
        """Count one use and return 0, or count none and return after how many seconds there is room."""

    def charge(self, key: str, amount: int) -> None:
        """Count `amount` uses, also beyond any limit."""

    def wait(self, key: str, limit: int) -> float:
        """Return after how many seconds there is room for one more; 0 for now."""

    def take(self, key: str, limit: int, lease: str, seconds: float) -> bool:
        """Take one of `limit` places for `seconds` at most, or return False: all are taken."""

    def free(self, key: str, limit: int) -> bool:
        """Tell whether one of `limit` places is free."""

    def give_back(self, key: str, lease: str) -> None:
        """Free the place that `lease` took, if it still has one."""


class Leases:
    """Places that are taken, each until it is given back or its time is up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, dict[str, float]] = {}

    def count(self, key: str) -> int:
        """Return how many places are taken."""
        with self._lock:
            return len(self._living(key))

    def take(self, key: str, limit: int, lease: str, seconds: float) -> bool:
        """Take a place, unless `limit` are taken."""
        with self._lock:
            living = self._living(key)
            if len(living) >= limit:
                return False
            living[lease] = time.monotonic() + seconds
            self._taken[key] = living
            return True

    def give_back(self, key: str, lease: str) -> None:
        """Free a place."""
        with self._lock:
            living = self._living(key)
            living.pop(lease, None)
            self._taken[key] = living
            if not living:
                del self._taken[key]

    def _living(self, key: str) -> dict[str, float]:
        now = time.monotonic()
        return {lease: ends for lease, ends in self._taken.get(key, {}).items() if ends > now}


def _memory_storage() -> "SlidingWindowCounterSupport":
    from limits.storage import MemoryStorage

    return MemoryStorage()


@dataclass(frozen=True)
class MemoryCounters:
    """Counts in this process, with the sliding windows of `limits`."""

    windows: Any = field(default_factory=_memory_storage, repr=False)
    leases: Leases = field(default_factory=Leases, repr=False)

    def hit(self, key: str, limit: int) -> float:
        """Count one use, if there is room."""
        return hit(self.windows, key, limit)

    def charge(self, key: str, amount: int) -> None:
        """Count `amount` uses."""
        charge(self.windows, key, amount)

    def wait(self, key: str, limit: int) -> float:
        """Return the seconds until there is room."""
        return wait(self.windows, key, limit)

    def take(self, key: str, limit: int, lease: str, seconds: float) -> bool:
        """Take a place, if one is free."""
        return self.leases.take(key, limit, lease, seconds)

    def free(self, key: str, limit: int) -> bool:
        """Tell whether a place is free."""
        return self.leases.count(key) < limit

    def give_back(self, key: str, lease: str) -> None:
        """Free a place."""
        self.leases.give_back(key, lease)


@cache
def memory() -> MemoryCounters:
    """Return the counters of this process: whatever is served from it, a caller has one account."""
    return MemoryCounters()


def hit(windows: "SlidingWindowCounterSupport", key: str, limit: int) -> float:
    """Count one use, or return after how many seconds there is room for it."""
    if windows.acquire_sliding_window_entry(key, limit, MINUTE, 1):
        return 0.0
    return max(wait(windows, key, limit), 1.0)


def charge(windows: "SlidingWindowCounterSupport", key: str, amount: int) -> None:
    """Count `amount` uses, however many there are."""
    windows.acquire_sliding_window_entry(key, _UNLIMITED, MINUTE, amount)


def wait(windows: "SlidingWindowCounterSupport", key: str, limit: int) -> float:
    """Return after how many seconds one more use fits.

    A window's uses count in full while it is the current one, and fade during the next.
    """
    before, before_ttl, now, now_ttl = windows.get_sliding_window(key, MINUTE)
    room = limit - 1
    if math.floor(before * before_ttl / MINUTE) + now <= room:
        return 0.0
    if now <= room:
        return before_ttl - (room - now) * MINUTE / before
    return now_ttl - room * MINUTE / now
