"""Finds a finished run among the threads of a caller, and what it knows of its answer."""

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver

from markgraph.errors import UsageError
from markgraph.feedback.types import Rated
from markgraph.security.caller import Caller, owner_of, thread_key

STEPS = 500
"""So many steps of a thread are looked at, from its end: some fifty turns."""
Threads = BaseCheckpointSaver[Any]


def find_run(threads: Threads, graph: str, caller: Caller, thread: str, run_id: str | None) -> Rated:
    """Return what a finished run of `caller` in a thread of theirs knows of its answer.

    All of it is what the run itself left there. The key of a thread holds its owner's tenant and subject,
    so nobody can name another's.

    Args:
        threads: where they are kept.
        graph: name of the graph that ran.
        caller: whose thread it is.
        thread: its name.
        run_id: of the run; None for the thread's last.

    Raises:
        UsageError: the thread holds no such run, or it isn't finished.
        StorageError: the threads can't be read.
    """
    for values in _steps(threads, thread_key(caller, f"{graph}:{thread}")):
        if "run_id" not in values or run_id not in (None, values["run_id"]):
            continue
        if values["owner"] != owner_of(caller):
            break
        if not values["answer"]:
            raise UsageError(f"Run {values['run_id']} is not finished, so there is no answer to rate yet.")
        return _rated(graph, values)
    raise UsageError(
        f"There is no run {run_id or 'at all'} of yours in thread {thread!r} of {graph}, or it was long "
        "ago. Allowed: the run_id of an answer that you got in that thread; answers outside of threads are "
        "not kept."
    )


def _steps(threads: Threads, key: str) -> Iterator[Mapping[str, Any]]:
    """Yield what a thread knew at each of its steps, the last one first."""
    config: RunnableConfig = {"configurable": {"thread_id": key, "checkpoint_ns": ""}}
    for step in threads.list(config, limit=STEPS):
        yield step.checkpoint["channel_values"]


def _rated(graph: str, values: Mapping[str, Any]) -> Rated:
    turn = values["history"][-1]  # the channel `question` may hold that of the next turn already
    was_drafted = not values["refused"] and "quote" not in values["timings"]
    messages = values.get("prompt") or []
    chunks = {id_ for passage in values["passages"] for id_ in passage["ids"]}
    return Rated(
        run_id=values["run_id"],
        graph=graph,
        question=turn["question"],
        answer=turn["answer"],
        refused=values["refused"],
        messages=messages,
        completion=values["draft"] if messages and was_drafted else "",
        documents=sorted({passage["source"] for passage in values["passages"]}),
        chunks=sorted(chunks.union(values["recalled"])),
        model=values["model"],
        config=values.get("config", ""),
    )
