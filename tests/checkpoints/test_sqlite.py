"""Threads are kept as LangGraph's conformance suite wants it, and reading them runs nothing."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.tool import tool_call
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import MessagesState, StateGraph

from markgraph import checkpoints
from markgraph.checkpoints import SqliteCheckpointer
from markgraph.errors import StorageError

BASE = {"put", "put_writes", "get_tuple", "list", "delete_thread"}
ROOT = Path(__file__).parents[2]


def graph(checkpointer: Any) -> Any:
    """Return a graph of one node that says how many messages there were."""

    def count(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{len(state['messages'])} so far")]}

    builder = StateGraph(MessagesState).add_node("count", count)
    return builder.set_entry_point("count").compile(checkpointer=checkpointer)


def ask(checkpointer: Any, thread: str) -> list[str]:
    config = {"configurable": {"thread_id": thread}}
    found = graph(checkpointer).invoke({"messages": [HumanMessage("hi")]}, config)
    return [message.text for message in found["messages"]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "threads.sqlite"


def test_sqlite_conforms_to_langgraph(tmp_path: Path) -> None:
    made = iter(range(1000))

    @checkpointer_test(name="SqliteCheckpointer")
    async def fresh() -> AsyncGenerator[SqliteCheckpointer, None]:
        checkpointer = checkpoints.sqlite(str(tmp_path / f"{next(made)}.sqlite"))
        yield checkpointer
        checkpointer.conn.close()

    report = asyncio.run(validate(fresh))
    assert report.passed_all_base(), report.to_dict()
    assert report.passed_all(), report.to_dict()
    assert {name for name, result in report.results.items() if result.detected} == BASE


def test_memory_conforms_to_langgraph() -> None:
    @checkpointer_test(name="memory")
    async def fresh() -> AsyncGenerator[Any, None]:
        yield checkpoints.memory()

    assert asyncio.run(validate(fresh)).passed_all()


def test_none_keeps_nothing() -> None:
    assert checkpoints.none() is None  # type: ignore[func-returns-value]


def test_another_process_reads_and_continues_a_thread(place: Path) -> None:
    code = (
        "import sys; from tests.checkpoints.test_sqlite import ask, checkpoints\n"
        "print(ask(checkpoints.sqlite(sys.argv[1]), 't1'))"
    )
    first = subprocess.run(
        [sys.executable, "-c", code, str(place)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert first.stdout.strip() == "['hi', '1 so far']"
    assert ask(checkpoints.sqlite(str(place)), "t1") == ["hi", "1 so far", "hi", "3 so far"]
    assert ask(checkpoints.sqlite(str(place)), "t2") == ["hi", "1 so far"]


def test_async_and_sync_share_a_thread(place: Path) -> None:
    checkpointer = checkpoints.sqlite(str(place))
    ask(checkpointer, "t1")

    async def more() -> tuple[int, list[str]]:
        config: Any = {"configurable": {"thread_id": "t1"}}
        found = await graph(checkpointer).ainvoke({"messages": [HumanMessage("hi")]}, config)
        steps = [checkpoint async for checkpoint in checkpointer.alist(config)]
        history = [snapshot async for snapshot in graph(checkpointer).aget_state_history(config)]
        assert len(steps) == len(history)
        limited = [checkpoint async for checkpoint in checkpointer.alist(config, limit=2)]
        await checkpointer.adelete_thread("t1")
        assert await checkpointer.aget_tuple(config) is None
        return len(limited), [message.text for message in found["messages"]]

    assert asyncio.run(more()) == (2, ["hi", "1 so far", "hi", "3 so far"])


def test_many_threads_write_at_once(place: Path) -> None:
    checkpointer = checkpoints.sqlite(str(place))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: ask(checkpointer, f"t{number % 8}-{number}"), range(40)))
    assert found == [["hi", "1 so far"]] * 40


def test_many_may_open_a_new_file_at_once(place: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        opened = list(pool.map(lambda _: checkpoints.sqlite(str(place)), range(16)))
        found = list(pool.map(ask, opened, map(str, range(16))))
    assert found == [["hi", "1 so far"]] * 16


def crafted(code: int, *parts: Any) -> tuple[str, bytes]:
    """Return a row as langgraph writes it for an object to be rebuilt: `code` says how."""
    inner = ormsgpack.packb(list(parts))
    return "msgpack", ormsgpack.packb({"id": "x", "channel_values": {"evil": ormsgpack.Ext(code, inner)}})


ATTACKS = {
    "constructor": crafted(0, "os", "system", "touch pwned"),
    "positional": crafted(1, "os", "system", ["touch pwned"]),
    "keywords": crafted(2, "subprocess", "run", {"args": ["touch", "pwned"]}),
    "method": crafted(3, "pathlib", "Path", "pwned", "touch"),
    "pydantic 1": crafted(4, "subprocess", "Popen", {"args": ["touch", "pwned"]}),
    "pydantic 2": crafted(5, "subprocess", "Popen", {"args": ["touch", "pwned"]}, "model_validate_json"),
    "our own class": crafted(1, "markgraph.security.caller", "Caller", ["eve", ["admin"]]),
}


@pytest.mark.parametrize("row", ATTACKS.values(), ids=ATTACKS)
def test_a_row_that_names_a_callable_runs_nothing(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: tuple[str, bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpointer = checkpoints.sqlite(str(place))
    ask(checkpointer, "t")
    config: Any = {"configurable": {"thread_id": "t"}}
    checkpointer.conn.execute("UPDATE checkpoints SET type = ?, checkpoint = ?", row)
    checkpointer.conn.execute("UPDATE writes SET type = ?, value = ?", row)
    found = checkpointer.get_tuple(config)
    assert found is not None
    for read in [found, *checkpointer.list(config)]:
        assert isinstance(read.checkpoint["channel_values"]["evil"], str | list | dict)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("kind", ["constructor", "positional", "keywords"])
def test_such_a_row_is_dangerous_to_a_lax_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # Else the test above would prove nothing.
    monkeypatch.chdir(tmp_path)
    JsonPlusSerializer(allowed_msgpack_modules=True).loads_typed(ATTACKS[kind])
    assert Path("pwned").exists()


@pytest.mark.parametrize("form", ["json", "pickle", "yaml"])
def test_a_row_of_a_format_that_is_not_ours_is_refused(place: Path, form: str) -> None:
    checkpointer = checkpoints.sqlite(str(place))
    ask(checkpointer, "t")
    checkpointer.conn.execute("UPDATE checkpoints SET type = ?, checkpoint = ?", (form, b"{}"))
    with pytest.raises(StorageError, match=f"format '{form}'. Allowed: msgpack, null, bytes, bytearray"):
        checkpointer.get_tuple({"configurable": {"thread_id": "t"}})


def test_plain_data_messages_and_documents_come_back_as_they_were() -> None:
    value = {
        "messages": [
            HumanMessage("hi", id="1"),
            AIMessage("", tool_calls=[tool_call(name="t", args={}, id="2")]),
        ],
        "documents": [Document("text", metadata={"page": 1})],
        "plain": [None, True, 1.5, b"x", {"a": {1, 2}}, datetime(2025, 1, 2, tzinfo=UTC)],
    }
    serializer = checkpoints.serializer()
    assert serializer.loads_typed(serializer.dumps_typed(value)) == value


def test_a_file_that_is_no_database_is_a_storage_error(place: Path) -> None:
    place.parent.mkdir()
    place.write_bytes(b"these are no threads" * 100)
    with pytest.raises(StorageError, match=r"Could not open the threads in .*threads\.sqlite"):
        checkpoints.sqlite(str(place))


def test_a_folder_in_its_place_is_a_storage_error(place: Path) -> None:
    place.mkdir(parents=True)
    with pytest.raises(StorageError, match="Could not open the threads"):
        checkpoints.sqlite(str(place))


def test_opens_a_path_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    checkpoints.sqlite("~/threads.sqlite").conn.close()
    assert (tmp_path / "threads.sqlite").exists()
