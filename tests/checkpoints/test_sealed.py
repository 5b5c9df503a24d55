"""Sealed threads are read by their tenant and nobody else, and nothing of them lies in clear."""

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import StateGraph, add_messages
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from markgraph import checkpoints
from markgraph.checkpoints.reseal import reseal
from markgraph.errors import SealError, ShreddedError
from markgraph.security.caller import Caller, thread_key
from markgraph.security.sealing.keyring import Keyring
from tests.checkpoints.conftest import Place, new_database

ROOT = Path(__file__).parents[2]
CANARIES = [
    "canary-question",
    "canary-answer",
    "canary-message",
    "canary-key",
    "canary-bearer",
    "canary-name",
]
ALICE = Caller("alice@example.org", tenant="acme")
BOB = Caller("bob", tenant="other")


class State(TypedDict, total=False):
    question: str
    answer: str
    count: int
    sure: bool
    messages: Annotated[list[AnyMessage], add_messages]


def graph(checkpointer: Any) -> Any:
    """Return a graph that answers, and waits for a word before it ends."""

    def answer(state: State) -> State:
        said = HumanMessage("canary-message", id=str(len(state.get("messages", []))))
        return {"answer": "canary-answer", "count": 7, "sure": True, "messages": [said]}

    def approve(state: State) -> State:
        return {"sure": interrupt("canary-question")}

    builder = StateGraph(State).add_node("answer", answer).add_node("approve", approve)
    builder.set_entry_point("answer").add_edge("answer", "approve")
    return builder.compile(checkpointer=checkpointer)


def config(caller: Caller = ALICE, thread: str = "canary-name") -> Any:
    """Return what names a thread, with credentials as a careless client would hand them in."""
    named = {"thread_id": thread_key(caller, thread), "api_key": "canary-key"}
    return {"configurable": named, "metadata": {"bearer": "canary-bearer"}}


def begin(checkpointer: Any, named: Any) -> None:
    graph(checkpointer).invoke({"question": "canary-question"}, named)


def finish(checkpointer: Any, named: Any) -> dict[str, Any]:
    found: dict[str, Any] = graph(checkpointer).invoke(Command(resume=False), named)
    return {key: value for key, value in found.items() if key != "messages"}


ENDED = {"question": "canary-question", "answer": "canary-answer", "count": 7, "sure": False}


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "in clear"])
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_conforms_to_langgraph(
    kind: str, sealed: bool, keyring: Keyring, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seal = keyring if sealed else None
    made = itertools.count()

    def new_place() -> Place:
        if kind == "sqlite":
            return Place(path=str(tmp_path / str(next(made)) / "threads.sqlite"))
        return Place(conninfo=new_database(request.getfixturevalue("postgres")))

    @checkpointer_test(name=kind)
    async def fresh() -> AsyncGenerator[Any, None]:
        yield new_place().open(seal)

    report = asyncio.run(validate(fresh))
    assert report.passed_all_base(), report.to_dict()
    prune = report.results["prune"]
    assert (prune.detected, prune.passed) == ((True, True) if kind == "postgres" else (False, None))


def test_goes_on_after_a_restart(place: Place, keyring: Keyring) -> None:
    begin(place.open(keyring), config())
    assert finish(place.open(keyring), config()) == ENDED


def test_nothing_lies_in_clear(place: Place, keyring: Keyring) -> None:
    begin(place.open(keyring), config())
    kept = place.dump()
    assert [canary for canary in [*CANARIES, "alice"] if canary.encode() in kept] == []


def test_without_a_seal_all_of_it_does(place: Place) -> None:
    # Else the test above would prove nothing.
    begin(place.open(), config())
    assert [canary for canary in CANARIES if canary.encode() not in place.dump()] == []


def test_lists_everything_as_it_was_put_but_for_what_a_config_added(place: Place, keyring: Keyring) -> None:
    threads = place.open(keyring)
    begin(threads, config())
    begin(threads, config(BOB))
    mine, all_ = [*threads.list(config())], [*threads.list(None)]
    assert {each.config["configurable"]["thread_id"] for each in all_} == {
        thread_key(ALICE, "canary-name"),
        thread_key(BOB, "canary-name"),
    }
    assert len(all_) == 2 * len(mine) == 6
    assert [each.metadata["step"] for each in threads.list(config(), filter={"source": "loop"})] == [1, 0]
    assert [*threads.list(config(), limit=0)] == []
    for each in all_:
        assert "api_key" not in each.metadata


def test_the_seal_outlives_compile_with_strict_msgpack(tmp_path: Path, keyring: Keyring) -> None:
    code = (
        "import sys; from tests.checkpoints.test_sealed import *\n"
        "seal = Keyring(sys.argv[1], sys.argv[2]); threads = checkpoints.sqlite(sys.argv[3], seal)\n"
        "begin(threads, config()); print(graph(threads).checkpointer is threads, finish(threads, config()))"
    )
    path = tmp_path / "threads.sqlite"
    arguments = [sys.executable, "-c", code, keyring.file, keyring.path, path]
    environment = os.environ | {"LANGGRAPH_STRICT_MSGPACK": "true"}
    said = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"True {ENDED}"
    assert b"canary" not in Place(path=str(path)).dump()


def test_a_thread_moved_to_somebody_else_does_not_open(place: Place, keyring: Keyring) -> None:
    threads = place.open(keyring)
    begin(threads, config())
    for other in (config(BOB), config(Caller("mallory", tenant="acme")), config(thread="other")):
        begin(threads, other)
        mine, theirs = (threads.stored_id(each["configurable"]["thread_id"]) for each in (config(), other))
        place.execute(f"DELETE FROM checkpoints WHERE thread_id = '{theirs}'")
        place.execute(f"UPDATE checkpoints SET thread_id = '{theirs}' WHERE thread_id = '{mine}'")
        with pytest.raises(SealError, match="does not open"):
            threads.get_tuple(other)
        place.execute(f"UPDATE checkpoints SET thread_id = '{mine}' WHERE thread_id = '{theirs}'")
    assert finish(threads, config()) == ENDED


def test_what_one_task_wrote_does_not_open_as_anothers(place: Place, keyring: Keyring) -> None:
    threads = place.open(keyring)
    begin(threads, config())
    place.execute("UPDATE writes SET task_id = '0' || substr(task_id, 2) WHERE substr(task_id, 1, 1) <> '0'")
    place.execute("UPDATE writes SET task_id = '1' || substr(task_id, 2) WHERE substr(task_id, 1, 1) = '0'")
    with pytest.raises(SealError, match="The thread's write of tenant 'acme' does not open"):
        [*threads.list(config())]


@pytest.mark.parametrize(
    "statement", ["UPDATE checkpoints SET metadata = '{}'", "UPDATE writes SET value = 'x'"]
)
def test_a_row_in_clear_among_sealed_ones_is_refused(place: Place, keyring: Keyring, statement: str) -> None:
    threads = place.open(keyring)
    begin(threads, config())
    place.execute(statement)
    with pytest.raises(SealError, match="is not sealed"):
        [*threads.list(config())]


def test_sealed_threads_are_refused_without_a_keyring_and_others_with_one(
    place: Place, keyring: Keyring
) -> None:
    begin(place.open(), config())
    with pytest.raises(SealError, match=r"not sealed.*markgraph keys reseal"):
        place.open(keyring).get_tuple(config())
    begin(SealedOf(place, keyring), config(BOB))
    with pytest.raises(SealError, match=r"are sealed.*seal=none. Set seal=keyring"):
        place.open().get_tuple(config())


def SealedOf(place: Place, keyring: Keyring) -> checkpoints.SealedCheckpointer:  # noqa: N802
    """Return a checkpointer that lets in threads in clear."""
    threads = place.open(keyring)
    return checkpoints.SealedCheckpointer(threads.kept, keyring, is_checked=True)


def test_resealing_seals_what_is_in_clear_and_runs_go_on(place: Place, keyring: Keyring) -> None:
    begin(place.open(), config())
    before = [each.checkpoint for each in place.open().list(config())]
    threads = place.open(keyring)
    assert (reseal(threads), reseal(threads)) == (1, 0)
    assert [each.checkpoint for each in place.open(keyring).list(config())] == before
    assert b"canary" not in place.dump()
    assert finish(place.open(keyring), config()) == ENDED


def test_resealing_after_a_rotation_leaves_nothing_under_the_old_key(place: Place, keyring: Keyring) -> None:
    threads = place.open(keyring)
    begin(threads, config())
    begin(threads, config(BOB))
    before = [*threads.list(config())]
    keyring.rotate()
    assert (reseal(threads), reseal(threads)) == (2, 0)
    with keyring._table.transaction() as database:
        database.execute("DELETE FROM data_keys WHERE number = 1")
    other = Keyring(keyring.file, keyring.path)
    assert [*place.open(other).list(config())] == before
    assert finish(place.open(other), config()) == ENDED


def test_a_shredded_tenant_is_gone_and_says_so(place: Place, keyring: Keyring) -> None:
    threads = place.open(keyring)
    begin(threads, config())
    begin(threads, config(BOB))
    keyring.shred("acme")
    for act in (threads.get_tuple, lambda named: begin(threads, named)):
        with pytest.raises(ShreddedError, match="'acme' were shredded"):
            act(config())
    keyring.rotate()
    assert reseal(threads) == 1
    assert finish(threads, config(BOB)) == ENDED


def test_deleting_a_thread_deletes_all_of_it(place: Place, keyring: Keyring) -> None:
    threads = place.open(keyring)
    begin(threads, config())
    threads.delete_thread(thread_key(ALICE, "canary-name"))
    assert threads.get_tuple(config()) is None
    assert [*threads.cells.thread_ids(sealed=True)] == []
