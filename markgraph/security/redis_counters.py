"""Counts what callers have used in Redis, and in this process while Redis is away."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from markgraph.errors import ConfigError, MissingExtraError, StorageError
from markgraph.security.counters import MemoryCounters, charge, hit, wait

if TYPE_CHECKING:
    from limits.storage import RedisStorage

Got = TypeVar("Got")
logger = logging.getLogger(__name__)
PREFIX = "markgraph:limits"
_TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
if ARGV[2] == '' then return 1 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
redis.call('EXPIRE', KEYS[1], math.ceil(math.max(ARGV[3], redis.call('TTL', KEYS[1]))))
return 1
"""
"""Takes a place among ARGV[1] for lease ARGV[2] and ARGV[3] seconds; without a lease it only looks."""


@dataclass(frozen=True)
class RedisCounters:
    """Counts in Redis. While it is away, each server counts by itself, up to its share of every limit.

    Every use is counted in this process as well, so that what a caller has used of this server is known
    the moment Redis goes, and still known when it is back. One that does not answer costs a request
    `patience` once; others go by memory meanwhile, and so do all until `away` seconds later.
    """

    url: str
    workers: int = 2
    """How many servers share the Redis: without it, each allows that part of a limit, but one at least."""
    patience: float = 0.025
    """Seconds to wait for Redis; a connection and an answer may take that long each."""
    away: float = 5.0
    """Seconds until Redis is asked again after it did not answer."""
    memory: MemoryCounters = field(default_factory=MemoryCounters, repr=False)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"limits.counters.workers is {self.workers}; allowed: 1 or more.")
        self._redis, self._breaker  # noqa: B018 -- says at once that the extra is missing, or the address is none

    def check(self) -> None:
        """Make sure that Redis is there.

        Raises:
            StorageError: it does not answer.
        """
        from redis.exceptions import RedisError

        try:
            self._redis.storage.ping()
        except RedisError as error:
            raise StorageError(
                f"The Redis of limits.counters.url does not answer: {str(error).rstrip('.')}. Start it, or "
                "name another."
            ) from error

    def hit(self, key: str, limit: int) -> float:
        """Count one use, if there is room for it here and in Redis."""
        if waits := self.memory.wait(key, limit):
            return waits
        shared = self._ask(lambda: hit(self._redis, key, limit))
        if shared is None:
            return self.memory.hit(key, self._share(limit))
        if not shared:
            self.memory.charge(key, 1)
        return shared

    def charge(self, key: str, amount: int) -> None:
        """Count `amount` uses."""
        self.memory.charge(key, amount)
        self._ask(lambda: charge(self._redis, key, amount))

    def wait(self, key: str, limit: int) -> float:
        """Return the seconds until there is room."""
        waits = self._ask(lambda: wait(self._redis, key, limit))
        if waits is None:
            return self.memory.wait(key, self._share(limit))
        return max(waits, self.memory.wait(key, limit))

    def take(self, key: str, limit: int, lease: str, seconds: float) -> bool:
        """Take a place here and in Redis, if there is one in both."""
        if not self.memory.free(key, limit):
            return False
        got = self._ask(lambda: self._place(key, limit, lease, seconds))
        if got is None:
            return self.memory.take(key, self._share(limit), lease, seconds)
        if got and not self.memory.take(key, limit, lease, seconds):
            self.give_back(key, lease)
            return False
        return bool(got)

    def free(self, key: str, limit: int) -> bool:
        """Tell whether a place is free."""
        got = self._ask(lambda: self._place(key, limit, "", 0))
        return self.memory.free(key, self._share(limit) if got is None else limit) and got != 0

    def give_back(self, key: str, lease: str) -> None:
        """Free a place; one in a Redis that is away frees itself in time."""
        self.memory.give_back(key, lease)
        self._ask(lambda: self._redis.storage.zrem(self._leases(key), lease))

    def _share(self, limit: int) -> int:
        return max(1, limit // self.workers)

    def _place(self, key: str, limit: int, lease: str, seconds: float) -> int:
        place = self._redis.storage.eval(_TAKE, 1, self._leases(key), limit, lease, seconds)
        return int(place)

    def _leases(self, key: str) -> str:
        return f"{PREFIX}:{key}"

    def _ask(self, question: Callable[[], Got]) -> Got | None:
        """Return what Redis says, or None when it is away."""
        from redis.exceptions import RedisError

        if not self._breaker.may_ask():
            return None
        try:
            answer = question()
        except RedisError as error:
            if self._breaker.opens():
                logger.warning(
                    "Redis is away (%s): limits are kept by each server for itself, at 1/%s of their height.",
                    type(error).__name__,
                    self.workers,
                )
            return None
        if self._breaker.closes():
            logger.warning("Redis is back: limits are kept for all servers together.")
        return answer

    @cached_property
    def _breaker(self) -> "_Breaker":
        return _Breaker(self.away)

    @cached_property
    def _redis(self) -> "RedisStorage":
        try:
            from limits.storage import RedisStorage
            from redis.backoff import NoBackoff
            from redis.retry import Retry

            options: dict[str, Any] = {
                "socket_timeout": self.patience,
                "socket_connect_timeout": self.patience,
                "retry": Retry(NoBackoff(), 0),
            }
            return RedisStorage(self.url, key_prefix=PREFIX, **options)
        except ImportError as error:
            raise MissingExtraError("limits=redis needs redis: pip install 'markgraph[redis]'.") from error
        except ValueError as error:
            raise ConfigError(
                f"limits.counters.url is {self.url!r}: {error} For example redis://127.0.0.1:6379/0."
            ) from error


@cache
def redis(url: str, workers: int, patience: float, away: float) -> RedisCounters:
    """Return this process's counters in the Redis at `url`: whatever is served, a caller has one account."""
    return RedisCounters(url, workers, patience, away)


class _Breaker:
    """Knows whether Redis is away, and lets one at a time find out whether it still is."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._again: float | None = None

    def may_ask(self) -> bool:
        """Tell whether to ask Redis; who asks again puts it off for all others."""
        with self._lock:
            if self._again is None:
                return True
            if time.monotonic() < self._again:
                return False
            self._again = time.monotonic() + self._seconds
            return True

    def opens(self) -> bool:
        """Note that Redis did not answer; tell whether that is news."""
        with self._lock:
            is_news, self._again = self._again is None, time.monotonic() + self._seconds
            return is_news

    def closes(self) -> bool:
        """Note that Redis answered; tell whether that is news."""
        with self._lock:
            is_news, self._again = self._again is not None, None
            return is_news
