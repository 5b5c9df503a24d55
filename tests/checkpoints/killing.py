"""Runs threads in processes that are killed at random, until all are done, and counts what came of them."""

import asyncio
import multiprocessing
import operator
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from markgraph import checkpoints
from markgraph.security.sealing.keyring import Keyring

STEPS = 6
PACE = 0.002
"""Seconds that a step takes, about."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.checkpoints.killing"])


class State(TypedDict):
    steps: Annotated[list[int], operator.add]
    text: str


@dataclass(frozen=True)
class Work:
    """What a process does, and where."""

    effects: str
    """An SQLite file: the side effects, each under a key of its own."""
    threads: int
    path: str = ""
    conninfo: str = ""
    keyring: tuple[str, str] = ("", "")
    asynchronous: bool = False

    def open(self) -> Any:
        """Return the checkpointer."""
        seal = Keyring(*map(Path, self.keyring)) if self.keyring[0] else None
        if self.path:
            return checkpoints.sqlite(self.path, seal)
        return checkpoints.postgres(self.conninfo, seal=seal)

    def graph(self, threads: Any) -> Any:
        """Return a graph of `STEPS` steps, of which each has a side effect."""

        def step(state: State, config: RunnableConfig) -> dict[str, Any]:
            number = len(state["steps"])
            self._effect(config["configurable"]["thread_id"], number)
            time.sleep(random.uniform(0, 2 * PACE))
            return {"steps": [number], "text": f"{state['text']} {number}"}

        builder = StateGraph(State).add_node("step", step)
        builder.add_edge(START, "step")
        builder.add_conditional_edges("step", lambda state: "step" if len(state["steps"]) < STEPS else END)
        return builder.compile(checkpointer=threads)

    def _effect(self, thread: str, number: int) -> None:
        """Do it unless it was done; note each attempt."""
        with closing(sqlite3.connect(self.effects, timeout=30)) as database, database:
            database.execute("INSERT OR IGNORE INTO effects VALUES (?, ?)", (thread, number))
            database.execute("INSERT INTO attempts VALUES (?, ?)", (thread, number))

    def configs(self) -> list[Any]:
        """Return what names each thread."""
        return [{"configurable": {"thread_id": f"acme:{n}:thread"}} for n in range(self.threads)]

    def prepare(self) -> None:
        """Make the file of side effects."""
        with closing(sqlite3.connect(self.effects)) as database, database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE effects (thread TEXT, number INT, PRIMARY KEY (thread, number))")
            database.execute("CREATE TABLE attempts (thread TEXT, number INT)")


def run(work: Work, hours: float, ready: Any) -> None:
    """Begin each thread, or go on with it where it was killed, until none is left; the clock is wrong."""
    now = time.time_ns
    time.time_ns = lambda: now() + int(hours * 3600e9)
    graph = work.graph(work.open())
    graph.get_state(work.configs()[0])
    ready.set()
    for config in work.configs():
        snapshot = graph.get_state(config)
        # Not `next`: it leaves out tasks whose writes are stored already.
        if snapshot.values and not snapshot.tasks:
            continue
        start = None if snapshot.values else {"steps": [], "text": "begun"}
        if work.asynchronous:
            asyncio.run(graph.ainvoke(start, config, durability="sync"))
        else:
            graph.invoke(start, config, durability="sync")


def kill_until_done(work: Work, seed: int, longest: float, hours: Sequence[float] = (0,)) -> int:
    """Run `work`, killing its process again and again, and return how often that was.

    Three times of four, a process is killed within `longest` seconds after it has connected: a busy machine
    would do nothing else. The clock of each process is wrong by some of `hours`.
    """
    chance, kills = random.Random(seed), 0
    while True:
        ready = CONTEXT.Event()
        process = CONTEXT.Process(target=run, args=(work, chance.choice(hours), ready))
        process.start()
        if chance.random() < 0.75:
            ready.wait(60)
        process.join(chance.uniform(0, longest))
        if process.exitcode is None:
            process.kill()
            process.join()
        if process.exitcode == 0:
            return kills
        assert process.exitcode == -9, f"the process ended by itself, with {process.exitcode}"
        kills += 1


@dataclass(frozen=True)
class Outcome:
    """What came of all threads: the first four must be 0."""

    lost: int
    """Steps that are missing in a thread."""
    doubled: int
    """Steps that are there more than once, or in another order."""
    effects_missing: int
    effects_unwanted: int
    """Effects under keys that no step has."""
    attempts: int
    """How often steps ran; more than there are where one was killed in between."""


def outcome(work: Work) -> Outcome:
    """Return what is found of all threads by a process of its own."""
    graph = work.graph(work.open())
    lost = doubled = 0
    for config in work.configs():
        values = graph.get_state(config).values
        steps = values.get("steps", [])
        lost += len(set(range(STEPS)) - set(steps))
        doubled += len(steps) - len(set(steps)) + (steps != sorted(steps))
        doubled += values.get("text") != " ".join(["begun", *map(str, range(STEPS))])
    with closing(sqlite3.connect(work.effects)) as database:
        done = set(database.execute("SELECT thread, number FROM effects").fetchall())
        attempts = database.execute("SELECT count(*) FROM attempts").fetchone()[0]
    names = [config["configurable"]["thread_id"] for config in work.configs()]
    wanted = {(name, number) for name in names for number in range(STEPS)}
    return Outcome(lost, doubled, len(wanted - done), len(done - wanted), attempts)
