"""Killed processes, restarted servers, full disks and wrong clocks lose nothing and double nothing."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from markgraph.checkpoints.sqlite_saver import SqliteCheckpointer
from markgraph.errors import StorageError
from markgraph.security.sealing.keyring import Keyring
from tests.checkpoints.conftest import Place
from tests.checkpoints.killing import CONTEXT, STEPS, Work, kill_until_done, outcome, run
from tests.servers import own_postgres


def work_on(place: Place, keyring: Keyring, folder: Path, **more: Any) -> Work:
    keys = (str(keyring.file), str(keyring.path))
    work = Work(
        str(folder / "effects.sqlite"), path=place.path, conninfo=place.conninfo, keyring=keys, **more
    )
    work.prepare()
    return work


def check(work: Work) -> None:
    found = outcome(work)
    assert (found.lost, found.doubled, found.effects_missing, found.effects_unwanted) == (0, 0, 0, 0), found


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_processes_killed_at_random_lose_and_double_nothing(
    place: Place, keyring: Keyring, tmp_path: Path, asynchronous: bool
) -> None:
    work = work_on(place, keyring, tmp_path, threads=16, asynchronous=asynchronous)
    kills = kill_until_done(work, seed=1, longest=0.2)
    check(work)
    assert kills > 1


@pytest.mark.slow
def test_runs_outlive_restarts_of_postgres(keyring: Keyring, tmp_path: Path) -> None:
    with own_postgres() as postgres, ThreadPoolExecutor(8) as pool:
        place = Place(conninfo=postgres.conninfo)
        work = work_on(place, keyring, tmp_path, threads=8)
        graph = work.graph(place.open(keyring))
        graph.get_state(work.configs()[0])  # connected, before it goes away
        stopped = threading.Event()

        def restart() -> None:
            for _ in range(3):
                time.sleep(0.5)
                postgres.stop()
                time.sleep(0.3)
                postgres.start()
            stopped.set()

        def rounds(config: Any) -> int:
            """Run the thread, then others, until the last restart."""
            done = 0
            while not stopped.is_set() or not done:
                named = {"configurable": {"thread_id": f"{config['configurable']['thread_id']}{done or ''}"}}
                found = graph.invoke({"steps": [], "text": "begun"}, named, durability="sync")
                assert found["steps"] == list(range(STEPS))
                done += 1
            return done

        restarting = threading.Thread(target=restart)
        restarting.start()
        done = list(pool.map(rounds, work.configs()))
        restarting.join()
    assert min(done) >= 1


def test_a_postgres_that_was_never_there_is_said_at_once(keyring: Keyring, tmp_path: Path) -> None:
    threads = Place(conninfo=f"host={tmp_path} user=mark").open(keyring)
    begun = time.monotonic()
    with pytest.raises(StorageError, match="did not do what was asked"):
        threads.get_tuple({"configurable": {"thread_id": "a:b:c"}})
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "in clear"])
def test_a_full_disk_keeps_what_was_there_and_the_run_goes_on_later(
    sealed: bool, keyring: Keyring, tmp_path: Path
) -> None:
    place = Place(path=str(tmp_path / "threads.sqlite"))
    work = work_on(place, keyring, tmp_path, threads=1)
    threads = place.open(keyring if sealed else None)
    kept: SqliteCheckpointer = threads.kept if sealed else threads
    (config,) = work.configs()
    pages = kept.conn.execute("PRAGMA page_count").fetchone()[0]
    for room in (0, 1):
        kept.conn.execute(f"PRAGMA max_page_count = {pages + room}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            run_on(work, threads, config)
    kept.conn.execute("PRAGMA max_page_count = 1000000")
    assert kept.conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert run_on(work, threads, config)["steps"] == list(range(STEPS))


def run_on(work: Work, threads: Any, config: Any) -> Any:
    """Begin a run or go on with it."""
    graph = work.graph(threads)
    state = graph.get_state(config)
    return graph.invoke(None if state.values else {"steps": [], "text": "begun"}, config, durability="sync")


def test_what_a_task_wrote_is_kept_altogether_or_not_at_all(tmp_path: Path) -> None:
    threads = Place(path=str(tmp_path / "threads.sqlite")).open()
    named: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    stored = threads.put(named, empty_checkpoint(), {}, {})
    pages = threads.conn.execute("PRAGMA page_count").fetchone()[0]
    threads.conn.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        threads.put_writes(stored, [("small", "x"), ("large", "x" * 100_000)], "task")
    assert threads.get_tuple(stored).pending_writes == []


@pytest.mark.slow
def test_clocks_that_jump_lose_and_double_nothing(place: Place, keyring: Keyring, tmp_path: Path) -> None:
    work = work_on(place, keyring, tmp_path, threads=6)
    kills = kill_until_done(work, seed=2, longest=0.2, hours=(0, -48, 48, -1))
    check(work)
    assert kills > 0


def test_a_thread_goes_on_where_the_clock_was_set_back(
    place: Place, keyring: Keyring, tmp_path: Path
) -> None:
    work = work_on(place, keyring, tmp_path, threads=1)
    (config,) = work.configs()
    stream = work.graph(place.open(keyring)).stream({"steps": [], "text": "begun"}, config, durability="sync")
    next(stream)
    next(stream)
    stream.close()
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=run, args=(work, -48, ready))
    process.start()
    process.join(60)
    process.kill()
    assert process.exitcode == 0
    check(work)
