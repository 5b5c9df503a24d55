"""What callers and their runs may use, counted in memory."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import START, StateGraph

from markgraph.build import Graph, load_graph
from markgraph.engines.fake import FakeEngine
from markgraph.errors import ConfigError, LimitError
from markgraph.models.chat import LocalChatModel
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.counters import MemoryCounters
from markgraph.security.limits import Limits
from markgraph.security.runs import LimitedGraph
from markgraph.state import QAState
from tests.retrieval.index_suite import chunk

ANNA, BEN = Caller("anna", ("reader",)), Caller("ben", ("reader",))
PAY = {"question": "When is payment due?"}
SAID = "Payment is due within 30 days. [1]"
SEARCH = {"tool": "search_documents", "args": {"query": "payment"}}
NO_LIMIT: dict[str, Any] = dict.fromkeys(("requests", "tokens", "runs", "steps", "tool_calls", "wall_time"))


def in_one_window(seconds: float = 5) -> None:
    """Wait until so many seconds of a window in memory are left: at its end, uses begin to fade."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left)


def limits(**some: Any) -> Limits:
    """Return limits of their own, with none but `some`."""
    return Limits(MemoryCounters(), **(NO_LIMIT | some))


@pytest.fixture
def make(tmp_path: Path) -> Any:
    index = WordsIndex(tmp_path / "words.sqlite")
    index.add([chunk("Payment is due within 30 days.")])

    def build(model: Any, own: Limits, name: str = "qa") -> Graph:
        return load_graph(name, model=model, embedder=HashEmbeddings(), index=index, limits=own)

    return build


def slow(seconds: float = 0.02, letters: int = 2000) -> tuple[LocalChatModel, FakeEngine]:
    """Return a model that takes `seconds` for each of so many letters."""
    engine = FakeEngine(["a" * letters], seconds=seconds)
    return LocalChatModel(engine=engine, max_tokens=letters), engine


def test_counts_requests_by_tenant_and_subject() -> None:
    in_one_window()
    own = limits(requests=2)
    for caller in (ANNA, ANNA, BEN, Caller("anna", tenant="other")):
        own.check_request(caller, starts_run=False)
    with pytest.raises(
        LimitError, match=r"2 requests a minute are the most for 'anna'\. Try again in"
    ) as caught:
        own.check_request(ANNA, starts_run=False)
    assert 1 <= caught.value.retry_after <= 120


def test_a_name_that_holds_a_colon_is_nobody_elses() -> None:
    own = limits(requests=1)
    own.check_request(Caller("b:c", tenant="a"), starts_run=False)
    own.check_request(Caller("c", tenant="a:b"), starts_run=False)


@given(limit=st.integers(1, 30), offset=st.floats(0, 60), later=st.lists(st.floats(0, 40), max_size=60))
def test_never_lets_more_through_than_the_window_says_and_retry_after_is_when_there_is_room(
    limit: int, offset: float, later: list[float]
) -> None:
    clock = 1_700_000_000 + offset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: clock)
        counters, passed = MemoryCounters(), []
        for pause in later:
            clock += pause
            wait = counters.hit("k", limit)
            passed += [] if wait else [clock]
            if wait:
                assert wait <= 120
                clock += wait
                assert counters.wait("k", limit) == 0
        for start in passed:
            window = start - start % 60
            assert sum(window <= at < window + 60 for at in passed) <= limit


def test_a_role_gives_more_and_the_most_of_several_counts() -> None:
    own = limits(requests=1, tokens=5, roles={"writer": {"requests": 3}, "admin": {"requests": None}})
    assert own.rates(ANNA).requests == 1
    assert own.rates(Caller("w", ("reader", "writer"))) == (3, 5, None)
    assert own.rates(Caller("a", ("writer", "admin"))).requests is None


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"requests": 0}, "limits.requests is 0. Allowed: a number above 0, or null"),
        ({"wall_time": -1}, "limits.wall_time is -1"),
        ({"tokens": "many"}, "limits.tokens is 'many'"),
        ({"roles": {"writer": {"request": 1}}}, "Unknown limits.roles.writer.request"),
        ({"roles": {"writer": {"runs": 0}}}, "limits.roles.writer.runs is 0"),
    ],
)
def test_refuses_limits_that_make_no_sense(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        limits(**setting)


def test_the_config_sets_them_by_role() -> None:
    graph: Any = load_graph(
        "qa", ["model=fake", "embedder=hash", "limits=memory", "limits.roles.writer.requests=600"]
    )
    assert graph.limits.rates(ANNA).requests == 120
    assert graph.limits.rates(Caller("w", ("reader", "writer"))).requests == 600


def test_a_run_is_charged_what_the_model_says_and_a_caller_in_debt_waits(make: Any) -> None:
    own = limits(tokens=10)
    graph = make(FakeChatModel(responses=[SAID]), own)
    used = graph.invoke(PAY, context=ANNA)["usage"]["total_tokens"]
    assert used > 10
    with pytest.raises(LimitError, match="10 tokens a minute are the most for 'anna'"):
        graph.invoke(PAY, context=ANNA)
    with pytest.raises(LimitError, match="10 tokens"):
        own.check_request(ANNA, starts_run=True)
    own.check_request(ANNA, starts_run=False)
    assert graph.invoke(PAY, context=BEN)["answer"] == SAID
    before, _, now, _ = own.counters.windows.get_sliding_window("tokens:default:anna", 60)  # type: ignore[attr-defined]
    assert before + now == used


def test_an_abandoned_answer_is_charged_too(make: Any) -> None:
    model, engine = slow()
    own = limits(tokens=10_000)
    graph = make(model, own)
    for part in graph.stream(PAY, context=ANNA, stream_mode="messages"):
        if part[0].text and engine.steps > 5:
            break
    before, _, now, _ = own.counters.windows.get_sliding_window("tokens:default:anna", 60)  # type: ignore[attr-defined]
    assert before + now > 50


def test_runs_at_once_are_limited_and_a_place_is_free_again_however_a_run_ends(make: Any) -> None:
    graph = make(slow()[0], limits(runs=1))
    going = graph.stream(PAY, context=ANNA, stream_mode="messages")
    next(going)
    with pytest.raises(LimitError, match="1 runs at once are the most for 'anna'"):
        graph.invoke(PAY, context=ANNA)
    going.close()
    with pytest.raises(ValueError, match="recursion_limit"):
        graph.invoke(PAY, {"recursion_limit": 0}, context=ANNA)
    next(graph.stream(PAY, context=ANNA, stream_mode="messages"))
    next(graph.stream(PAY, context=BEN, stream_mode="messages"))


def test_a_run_that_raises_gives_its_place_back(make: Any) -> None:
    broken = make(FakeChatModel(responses=[{"tool": "none", "args": {}}]), limits(runs=1))
    denied = Caller("anna")
    for _ in range(3):
        with pytest.raises(PermissionError):
            broken.invoke(PAY, context=denied)


def test_a_run_that_waits_for_a_person_holds_no_place(make: Any) -> None:
    note = FakeChatModel(responses=[{"tool": "save_note", "args": {"text": "x"}}])
    graph = make(note, limits(runs=1), "agent")
    for _ in range(2):
        assert "__interrupt__" in graph.invoke(PAY, context=ANNA)


def test_a_graph_within_a_limited_run_is_part_of_it(make: Any) -> None:
    own = limits(runs=1, wall_time=0.5)
    inner = make(slow()[0], own)
    around = StateGraph(QAState, Caller)
    around.add_node("qa", inner)
    around.add_edge(START, "qa")
    outer = LimitedGraph(limits=own, **vars(around.compile()))
    assert stopped_after(lambda: outer.invoke(PAY, context=ANNA)) < 1.5
    assert stopped_after(lambda: asyncio.run(outer.ainvoke(PAY, context=ANNA))) < 1.5
    assert stopped_after(lambda: around.compile().invoke(PAY, context=ANNA)) < 1.5


def test_an_abandoned_stream_stops_the_engine(make: Any) -> None:
    model, engine = slow()
    going = make(model, limits()).stream(PAY, context=ANNA, stream_mode="messages")
    next(going)
    going.close()
    after = engine.steps
    assert after < 100
    time.sleep(0.3)
    assert engine.steps == after


def test_steps_are_limited(make: Any) -> None:
    graph = make(FakeChatModel(responses=[SEARCH]), limits(steps=4), "agent")
    with pytest.raises(LimitError, match="took 4 steps, as many as a run may"):
        graph.invoke(PAY, context=ANNA)
    with pytest.raises(LimitError, match="took 3 steps"):
        asyncio.run(graph.ainvoke(PAY, {"recursion_limit": 3}, context=ANNA))
    with pytest.raises(LimitError, match="took 4 steps"):
        graph.invoke(PAY, {"recursion_limit": 1000}, context=ANNA)


def test_tool_calls_are_limited_and_the_model_is_told(make: Any) -> None:
    model = FakeChatModel(responses=[SEARCH, SEARCH, SEARCH, SAID])
    graph = make(model, limits(tool_calls=2), "agent")
    assert graph.invoke(PAY, context=ANNA)["answer"] == SAID
    told = [message.text for message in model.prompts[-1]]
    assert sum("Not run: 2 calls are the most" in text for text in told) == 1


def stopped_after(run: Any) -> float:
    began = time.monotonic()
    with pytest.raises(LimitError, match=r"took longer than 0.5 s, as long as a run may"):
        run()
    return time.monotonic() - began


@pytest.mark.parametrize("waits", [False, True])
def test_a_run_that_takes_too_long_is_stopped_and_so_is_the_engine(make: Any, waits: bool) -> None:
    model, engine = slow()
    graph = make(model, limits(wall_time=0.5, runs=1))

    def run() -> None:
        if waits:
            asyncio.run(graph.ainvoke(PAY, context=ANNA))
        else:
            graph.invoke(PAY, context=ANNA)

    assert stopped_after(run) < 1.5
    after = engine.steps
    assert 0 < after < 100
    time.sleep(0.3)
    assert engine.steps <= after + 1
    assert stopped_after(run) < 1.5, "and its place is free"


def test_other_runs_go_on_when_one_is_stopped(make: Any) -> None:
    engine = FakeEngine(["a" * 2000, SAID], seconds=0.01)
    graph = make(LocalChatModel(engine=engine, max_tokens=2000), limits(wall_time=1.5))

    async def both() -> list[Any]:
        long = asyncio.create_task(graph.ainvoke(PAY, context=ANNA))
        while not engine.prompts:
            await asyncio.sleep(0.01)
        return await asyncio.gather(long, graph.ainvoke(PAY, context=BEN), return_exceptions=True)

    stopped, answered = asyncio.run(both())
    assert isinstance(stopped, LimitError)
    assert answered["answer"] == SAID


def test_no_more_places_are_taken_than_there_are_by_many_at_once() -> None:
    counters, got = MemoryCounters(), []
    start = threading.Barrier(20)

    def take(name: str) -> None:
        start.wait()
        got.append(counters.take("k", 3, name, 60))

    threads = [threading.Thread(target=take, args=(str(n),)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 3


def test_a_place_whose_time_is_up_is_free() -> None:
    counters = MemoryCounters()
    assert counters.take("k", 1, "a", 0.05)
    assert not counters.take("k", 1, "b", 0.05)
    time.sleep(0.06)
    assert counters.free("k", 1)
    assert counters.take("k", 1, "b", 0.05)
