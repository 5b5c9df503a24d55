"""What a run leaves in the audit log that fails between its nodes, and how long a graph with a log lives."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from markgraph.audit.file import FileAudit
from markgraph.audit.verify import records
from markgraph.build import Graph
from markgraph.engines.fake import FakeEngine
from markgraph.errors import LimitError
from markgraph.models.chat import LocalChatModel
from markgraph.security.caller import Caller
from markgraph.security.counters import MemoryCounters
from markgraph.security.limits import Limits
from tests.audit.conftest import Build

PAY = "Within how many days must the customer pay an invoice?"
THREAD: Any = {"configurable": {"thread_id": "my own words"}}
SEARCH = {"tool": "search_documents", "args": {"query": "invoice"}}


def both_ways(graph: Graph, *given: Any, **named: Any) -> Iterator[Callable[[], Any]]:
    """Yield what runs a graph, and what awaits one."""
    yield lambda: graph.invoke(*given, **named)
    yield lambda: asyncio.run(graph.ainvoke(*given, **named))


@pytest.mark.parametrize("steps", [4, None])
def test_a_run_of_too_many_steps_leaves_that_it_failed_once(
    build: Build, log: FileAudit, reader: Caller, steps: int | None
) -> None:
    limits = Limits(MemoryCounters(), steps=steps) if steps else None
    graph = build("agent", SEARCH, limits=limits)
    for run in both_ways(graph, {"question": PAY}, {"recursion_limit": 5}, context=reader):
        with pytest.raises(LimitError, match=f"took {steps or 5} steps"):
            run()
    ends = [record for record in records(log.folder) if record["outcome"] == "failed"]
    assert [(end["resource"], end["error"], end["actor"]) for end in ends] == [
        ("graph:agent", "GraphRecursionError", "rita")
    ] * 2
    begun = {record["run"] for record in records(log.folder)}
    assert {end["run"] for end in ends} == begun


def test_a_run_that_takes_too_long_leaves_that_it_failed_once(
    build: Build, log: FileAudit, reader: Caller
) -> None:
    model = LocalChatModel(engine=FakeEngine(["a" * 3000], seconds=0.01), max_tokens=3000)
    graph = build("qa", model=model, limits=Limits(MemoryCounters(), wall_time=0.3))
    for run in both_ways(graph, {"question": PAY}, context=reader):
        with pytest.raises(LimitError, match=r"longer than 0\.3 s"):
            run()
    assert [each["outcome"] for each in records(log.folder)].count("failed") == 2


class Full(InMemorySaver):
    """Has no room after some checkpoints, as a disk may have none."""

    left = 4

    def put(self, *given: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device")
        return super().put(*given)

    async def aput(self, *given: Any) -> Any:
        return self.put(*given)


def test_a_run_that_can_not_be_kept_leaves_that_it_failed(
    build: Build, log: FileAudit, reader: Caller
) -> None:
    for run in range(2):
        graph = build("qa", checkpoint=Full())
        with pytest.raises(OSError, match="No space left"):
            list(both_ways(graph, {"question": PAY}, THREAD, context=reader))[run]()
    ends = [record for record in records(log.folder) if record["outcome"] == "failed"]
    assert [end["error"] for end in ends] == ["OSError"] * 2


def test_a_graph_with_a_log_is_gone_with_its_last_user(build: Build, reader: Caller) -> None:
    graph = build("qa")
    for run in both_ways(graph, {"question": PAY}, context=reader):
        run()
    gc.collect()
    gc.disable()
    try:
        gone = weakref.ref(graph)
        del graph, run
        assert gone() is None
    finally:
        gc.enable()
