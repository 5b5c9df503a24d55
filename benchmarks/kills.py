"""Kills processes at random while they run threads, and counts what was lost and what was done twice.

    python -m benchmarks.kills threads=150
    python -m benchmarks.kills part=restarts
    python -m benchmarks.kills threads=5000 conninfo="host=/run/postgresql user=me dbname=test"

SQLite and Postgres, in and without an event loop, sealed and in clear; each step has a side effect under a
key of its own. Without `conninfo` it runs a Postgres of its own, and restarts that 20 times under 8 runs.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

from markgraph.security.sealing.keyring import Keyring
from tests.checkpoints.conftest import new_database
from tests.checkpoints.killing import STEPS, Work, kill_until_done, outcome
from tests.servers import OwnPostgres, own_postgres

RESTARTS = 20
RUNS = 8


def works(folder: Path, conninfo: str, threads: int) -> Iterator[tuple[str, Work]]:
    """Yield each kind of place with each way to use it."""
    keyring = Keyring(folder / "masters.json", folder / "keys.sqlite")
    keyring.rotate()
    keys = (str(keyring.file), str(keyring.path))
    for kind in ("sqlite", "postgres"):
        for sealed in (True, False):
            for asynchronous in (False, True):
                name = f"{kind} {'sealed' if sealed else 'clear'} {'async' if asynchronous else 'sync'}"
                stem = folder / name.replace(" ", "-")
                place = (
                    {"path": f"{stem}.sqlite"} if kind == "sqlite" else {"conninfo": new_database(conninfo)}
                )
                effects = f"{stem}.effects"
                keyed = keys if sealed else ("", "")
                yield name, Work(effects, threads, keyring=keyed, asynchronous=asynchronous, **place)


def measure_kills(folder: Path, conninfo: str, threads: int) -> bool:
    """Print a row for each, and tell whether all is as it should be."""
    print(
        f"{'':24} {'kills':>6} {'lost':>5} {'doubled':>8} {'effects -':>10} {'+':>3} {'re-run':>7} {'s':>7}"
    )
    fine = True
    for seed, (name, work) in enumerate(works(folder, conninfo, threads)):
        work.prepare()
        began = time.monotonic()
        kills = kill_until_done(work, seed, longest=0.2, hours=(0, 0, -1, 1))
        found, spent = outcome(work), time.monotonic() - began
        again = found.attempts - threads * STEPS
        wrong = (found.lost, found.doubled, found.effects_missing, found.effects_unwanted)
        print(
            f"{name:24} {kills:6} {wrong[0]:5} {wrong[1]:8} {wrong[2]:10} {wrong[3]:3} {again:7} {spent:7.1f}"
        )
        fine &= not any(wrong)
    return fine


def measure_restarts(folder: Path, postgres: OwnPostgres) -> bool:
    """Restart Postgres under runs, and tell whether each ended once, without an error."""
    keyring = Keyring(folder / "restarts.json", folder / "restarts.sqlite")
    keyring.rotate()
    keys = (str(keyring.file), str(keyring.path))
    work = Work(
        str(folder / "restarts.effects"), RUNS, conninfo=new_database(postgres.conninfo), keyring=keys
    )
    work.prepare()
    graph, over = work.graph(work.open()), Event()
    graph.get_state(work.configs()[0])
    longest = [0.0]

    def runs(number: int) -> int:
        done = 0
        while not over.is_set():
            began = time.monotonic()
            named: Any = {"configurable": {"thread_id": f"acme:{number}:{done}"}}
            found = graph.invoke({"steps": [], "text": ""}, named, durability="sync")
            if found["steps"] != list(range(STEPS)):
                raise AssertionError(f"a run came to {found['steps']}")
            longest[0] = max(longest[0], time.monotonic() - began)
            done += 1
        return done

    with ThreadPoolExecutor(RUNS) as pool:
        running = [pool.submit(runs, number) for number in range(RUNS)]
        for _ in range(RESTARTS):
            time.sleep(1)
            postgres.stop()
            time.sleep(1)
            postgres.start()
        over.set()
        done = sum(each.result() for each in running)
    print(f"{RESTARTS} restarts under {RUNS} runs: {done} runs, each complete once, 0 errors; ", end="")
    print(f"the longest took {longest[0]:.1f} s")
    return True


def main(options: dict[str, str]) -> int:
    """Run all of it."""
    threads = int(options.get("threads", "150"))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        if "conninfo" in options:
            return 0 if measure_kills(folder, options["conninfo"], threads) else 1
        postgres = stack.enter_context(own_postgres())
        fine = options.get("part") == "restarts" or measure_kills(folder, postgres.conninfo, threads)
        return 0 if measure_restarts(folder, postgres) and fine else 1


if __name__ == "__main__":
    sys.exit(main(dict(each.split("=", 1) for each in sys.argv[1:])))
