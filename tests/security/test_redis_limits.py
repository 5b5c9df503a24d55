"""What callers may use, counted in a real Redis that is taken away, comes back, or does not answer."""

import logging
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from markgraph.errors import ConfigError
from markgraph.security.redis_counters import RedisCounters
from tests.security.test_limits import in_one_window
from tests.servers import RedisServer, redis_server

UNHURRIED = 5.0
"""Seconds that a busy machine may take to answer where nothing is about time."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def counters(server: RedisServer, workers: int = 2, away: float = 60.0) -> RedisCounters:
    return RedisCounters(server.url, workers, UNHURRIED, away)


def passed(one: RedisCounters, key: str, limit: int, tries: int = 20) -> int:
    """Return how many of `tries` are let through."""
    return sum(not one.hit(key, limit) for _ in range(tries))


def test_servers_count_together(redis: RedisServer) -> None:
    in_one_window()
    one, other = counters(redis), counters(redis)
    assert passed(one, "k", 10, 6) == 6
    assert passed(other, "k", 10) == 4
    assert passed(one, "k", 10) == 0
    assert 1 <= one.hit("k", 10) <= 120
    one.charge("t", 30)
    assert 0 < other.wait("t", 10) <= 120
    assert other.wait("t", 31) == 0


def test_places_are_taken_together_and_free_themselves_when_a_server_dies(redis: RedisServer) -> None:
    one, other = counters(redis), counters(redis)
    assert one.take("k", 2, "a", 60)
    assert other.take("k", 2, "b", 0.5)
    assert not one.take("k", 2, "c", 60)
    assert not one.free("k", 2)
    time.sleep(0.6)
    assert one.free("k", 2)
    assert one.take("k", 2, "c", 60)
    assert not other.take("k", 2, "d", 60)
    one.give_back("k", "a")
    assert other.take("k", 2, "d", 60)


def test_nobody_else_can_give_a_place_back(redis: RedisServer) -> None:
    one = counters(redis)
    assert one.take("k", 1, "a", 60)
    one.give_back("k", "b")
    assert not one.free("k", 1)


def test_without_redis_each_server_allows_its_share(redis: RedisServer) -> None:
    in_one_window()
    one, other = counters(redis), counters(redis)
    redis.stop()
    assert passed(one, "k", 10) == 5
    assert passed(other, "k", 10) == 5
    one.charge("t", 5)
    assert one.wait("t", 10) > 0
    assert one.take("r", 4, "a", 60)
    assert one.take("r", 4, "b", 60)
    assert not one.take("r", 4, "c", 60)
    assert not one.free("r", 4)
    one.give_back("r", "a")
    assert one.free("r", 4)


def test_what_was_used_before_redis_went_is_not_given_again(redis: RedisServer) -> None:
    in_one_window()
    one = counters(redis)
    assert passed(one, "k", 10, 7) == 7
    redis.stop()
    assert passed(one, "k", 10) == 0


def test_what_was_used_while_redis_was_away_is_not_given_again(redis: RedisServer) -> None:
    in_one_window()
    one = counters(redis, away=0.05)
    redis.stop()
    assert passed(one, "k", 10) == 5
    redis.start()
    time.sleep(0.1)
    assert passed(one, "k", 10) == 5
    assert passed(counters(redis), "k", 10) == 5, "Redis has counted those since"


def test_says_once_that_redis_went_and_that_it_is_back(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    one = counters(redis, away=0.05)
    redis.stop()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            one.hit("k", 10)
            time.sleep(0.06)
        redis.start()
        time.sleep(0.1)
        one.hit("k", 10)
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("Redis is away (ConnectionError)")
    assert said[1].startswith("Redis is back")


def test_a_redis_that_forgot_the_scripts_is_told_them_again(redis: RedisServer) -> None:
    one = counters(redis)
    assert not one.hit("k", 10)
    redis.stop()
    redis.start()
    again = counters(redis)
    assert passed(again, "k", 10) == 10


@contextmanager
def stalling_proxy(target: int) -> Iterator[tuple[int, threading.Event]]:
    """Pass everything on to `target`, until the event is set: then nothing any more."""
    stalls = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    opened = [listener]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if stalls.is_set():
                    return
                sink.sendall(data)
        except OSError:
            pass

    def accept() -> None:
        try:
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", target))
                opened.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()
        except OSError:
            pass

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], stalls
    finally:
        for one in opened:
            one.close()


def test_a_redis_that_does_not_answer_costs_little_and_once(redis: RedisServer) -> None:
    with stalling_proxy(redis.port) as (port, stalls):
        one = RedisCounters(f"redis://127.0.0.1:{port}/0", workers=2, patience=0.025, away=1.0)
        one.hit("k", 1000)
        stalls.set()
        taken = []
        for _ in range(200):
            began = time.perf_counter()
            one.hit("k", 1000)
            taken.append(time.perf_counter() - began)
            time.sleep(0.01)
    taken.sort()
    assert taken[197] < 0.05, f"the slowest were {taken[-5:]}"
    assert statistics.median(taken) < 0.005


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"limits.counters.url is 'nonsense'.*redis://127.0.0.1"):
        RedisCounters("nonsense")
    with pytest.raises(ConfigError, match="workers is 0"):
        RedisCounters("redis://127.0.0.1/0", workers=0)
