"""A run that one thread or process has begun, and another goes on with; and one that is cancelled."""

import asyncio
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from langgraph.types import Command

from markgraph.build import Graph
from markgraph.errors import DeniedError, UsageError
from markgraph.models.registry import Registry
from markgraph.security.caller import Caller
from markgraph.training.runs import alone
from markgraph.training.scoring import said
from tests.engines.tiny import tiny_llama
from tests.training.runs import NAME, losses, read, rows, settings, write_rows
from tests.training.test_graph import TRAINER, graph_of, planned, thread, trained

STEPS, HELD = 27, 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def chosen(model: str, tmp_path: Path) -> list[str]:
    return settings(model, write_rows(tmp_path / "rows.jsonl", rows()))


def gone_on(graph: Graph, caller: Caller = TRAINER, run: str = "r", of: str = "another") -> dict[str, Any]:
    """Return the state of another thread that goes on with a run, as far as its plan."""
    return graph.invoke({"run": run, "resume": True}, thread(of), context=caller)


@pytest.mark.parametrize(
    ("said", "approved"),
    [
        ({"confirm": True}, True),
        ({"confirm": False}, False),
        ({"confirm": "true"}, False),
        ({"confirm": 1}, False),
        ({}, False),
        (1, False),
    ],
)
def test_only_true_is_a_yes(said: Any, approved: bool, chosen: list[str]) -> None:
    graph = graph_of(chosen, "method.epochs=0.1")
    planned(graph)
    assert graph.invoke(Command(resume=said), thread("r"), context=TRAINER)["approved"] is approved


def test_another_thread_goes_on_with_what_was_declined(chosen: list[str], home: Path) -> None:
    graph = graph_of(chosen)
    planned(graph)
    assert not graph.invoke(Command(resume=False), thread("r"), context=TRAINER)["approved"]
    watched = home / "models" / ".learning" / "r.jsonl"
    assert watched.exists(), "what becomes of its documents until then is noted"

    (asked,) = gone_on(graph)["__interrupt__"]
    assert asked.value["run"] == "r"
    assert asked.value["plan"] == read(home / "training" / "r" / "plan.json")
    assert asked.value["prepared"]["train"]["rows"] == 216
    report = graph.invoke(Command(resume=True), thread("another"), context=TRAINER)
    assert report["registered"] == {"name": NAME, "version": 1, "alias": "challenger"}
    assert not watched.exists()


def test_nobody_else_goes_on_nor_anybody_with_less_rights_or_other_settings(
    chosen: list[str], home: Path
) -> None:
    graph, legal = graph_of(chosen), Caller("tom", ("trainer",), groups=("legal",))
    planned(graph, caller=legal)
    eve, namesake = Caller("eve", ("trainer",), groups=("legal",)), Caller("tom", ("trainer",), "other")
    for of, caller in (("hers", eve), ("his", namesake)):
        with pytest.raises(UsageError, match="There is no run 'r' of yours"):
            gone_on(graph, caller, of=of)
    with pytest.raises(UsageError, match="There is no run 'none' of yours"):
        gone_on(graph, legal, "none")
    with pytest.raises(DeniedError, match=r"rights that its caller no longer has: g:legal"):
        gone_on(graph)
    with pytest.raises(UsageError, match="began with other settings"):
        gone_on(graph_of(chosen, "method.epochs=2"), legal)
    assert "__interrupt__" in gone_on(graph, legal)


def test_what_is_finished_is_not_begun_again(chosen: list[str], home: Path) -> None:
    trained(graph_of(chosen))
    with pytest.raises(UsageError, match="Run 'r' is finished"):
        gone_on(graph_of(chosen))
    refused = graph_of(chosen, "method.learning_rate=1e-12")
    assert not trained(refused, "refused")["registered"]
    with pytest.raises(UsageError, match="Run 'refused' is finished"):
        gone_on(refused, run="refused")
    assert [each.version for each in Registry(home / "models").versions(NAME)] == [1]


def test_two_do_not_train_in_one_folder_at_a_time(chosen: list[str], home: Path) -> None:
    graph = graph_of(chosen)
    planned(graph)
    with alone(home / "training" / "r"), pytest.raises(UsageError, match=r"at work on run 'r'\. Wait for it"):
        graph.invoke(Command(resume=True), thread("r"), context=TRAINER)
    assert graph.invoke(None, thread("r"), context=TRAINER)["registered"]


async def cancelled(graph: Graph, unit: str) -> None:
    """Begin run r, and cancel it when it tells of the third step, or row."""
    await graph.ainvoke({"run": "r"}, thread("r"), context=TRAINER)
    stream = graph.astream(
        Command(resume={"confirm": True}), thread("r"), context=TRAINER, stream_mode="custom"
    )
    reached = asyncio.Event()

    async def follow() -> None:
        async for told in stream:
            if told.get(unit, 0) >= 3:
                reached.set()

    run = asyncio.create_task(follow())
    await reached.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


def test_two_do_not_score_one_run_at_a_time(chosen: list[str], home: Path) -> None:
    graph = graph_of(chosen)
    planned(graph)
    graph.invoke(Command(resume=True), thread("r"), context=TRAINER, interrupt_before=["evaluate"])
    with alone(home / "training" / "r"), pytest.raises(UsageError, match=r"at work on run 'r'\. Wait for it"):
        graph.invoke(None, thread("r"), context=TRAINER)
    assert graph.invoke(None, thread("r"), context=TRAINER)["registered"]


def test_a_scoring_that_is_cancelled_ends_and_goes_on(
    chosen: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, place = graph_of(chosen), home / "training" / "r" / "scores" / "champion.jsonl"

    def slowly(*given: Any) -> Any:
        sleep(0.05)
        return said(*given)

    monkeypatch.setattr("markgraph.training.sft.said", slowly)
    asyncio.run(cancelled(graph, "row"))
    scored = place.read_text()
    assert 1 + 3 <= len(scored.splitlines()) < 1 + HELD, "nothing was scored behind it"
    report = graph.invoke(None, thread("r"), context=TRAINER)
    assert place.read_text().startswith(scored)
    assert len(place.read_text().splitlines()) == 1 + HELD
    assert report["registered"]


def test_a_run_that_is_cancelled_keeps_a_checkpoint_and_goes_on(chosen: list[str], home: Path) -> None:
    graph, folder = graph_of(chosen, "method.save_steps=1000"), home / "training" / "r"
    asyncio.run(cancelled(graph, "step"))
    (checkpoint,) = (folder / "checkpoints").iterdir()
    step = int(checkpoint.name.rpartition("-")[2])
    assert 3 <= step < STEPS
    assert losses(folder)[-1][0] == step, "nothing was trained behind it"
    assert not (folder / "model").exists()

    report = graph.invoke(None, thread("r"), context=TRAINER)
    assert report["trained"]["train"]["steps"] == STEPS
    assert [step for step, _ in losses(folder)] == list(range(1, STEPS + 1))
    assert report["registered"]
