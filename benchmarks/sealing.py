"""Measures what sealing costs: threads and chunks, sealed against in clear, in one run.

    python -m benchmarks.sealing messages=50 size=400 rounds=300

The rival is what MARK does with seal=none; for threads in SQLite also LangGraph's own EncryptedSerializer, as
far as it goes: it leaves metadata and thread names in clear and binds nothing to a tenant.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6

from markgraph import checkpoints
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.sealing.keyring import Keyring
from tests.servers import own_postgres

CALLER = Caller("anna", ("reader",), groups=("legal",))
THREAD: Any = {"configurable": {"thread_id": "default:anna:t", "checkpoint_ns": ""}}


def checkpoint_of(messages: int, size: int) -> dict[str, Any]:
    """Return a checkpoint like that of a long conversation: messages, and a dozen small values."""
    said = [(HumanMessage, AIMessage)[n % 2]("x" * size, id=str(n)) for n in range(messages)]
    values: dict[str, Any] = {"messages": said, "question": "When?", "refused": False, "attempts": 1}
    values |= {f"channel{n}": ["some text of a passage"] * 3 for n in range(10)}
    versions = dict.fromkeys(values, f"{1:032}.0")
    return {**empty_checkpoint(), "channel_values": values, "channel_versions": versions}


def put_and_get(saver: Any, checkpoint: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return what stores a checkpoint as a step does, and what reads the last one."""

    def put() -> None:
        new = {"messages": checkpoint["channel_versions"]["messages"]}
        fresh = checkpoint | {"id": str(uuid6())}
        stored = saver.put(THREAD, fresh, {"source": "loop", "step": 1}, new)
        saver.put_writes(stored, [("messages", checkpoint["channel_values"]["messages"][-1:])], str(uuid6()))

    saver.put(THREAD, checkpoint, {"source": "loop", "step": 0}, checkpoint["channel_versions"])
    return put, lambda: saver.get_tuple(THREAD)


def compare(name: str, rivals: dict[str, Callable[[], Any]], rounds: int) -> None:
    """Print the medians of rivals that take turns, and the ratio of each to the last, which is in clear."""
    times: dict[str, list[float]] = {rival: [] for rival in rivals}
    for _ in range(rounds):
        for rival, act in rivals.items():
            began = time.perf_counter()
            act()
            times[rival].append(time.perf_counter() - began)
    medians = {rival: statistics.median(each) * 1e6 for rival, each in times.items()}
    plain = list(medians.values())[-1]
    for rival, median in medians.items():
        print(f"{name:22} {rival:22} {median:9.0f} µs  {median / plain:5.2f} x")


def measure_threads(folder: Path, seal: Keyring, checkpoint: dict[str, Any], rounds: int) -> None:
    """Compare checkpoints in SQLite and Postgres."""
    from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

    stock = checkpoints.sqlite(str(folder / "stock.sqlite"))
    rivals = {"sealed": checkpoints.sqlite(str(folder / "sealed.sqlite"), seal)}
    try:
        stock.serde = EncryptedSerializer.from_pycryptodome_aes(checkpoints.serializer(), key=b"k" * 32)
        rivals["EncryptedSerializer"] = stock
    except ImportError:
        print("EncryptedSerializer needs pycryptodome, which is not installed: left out")
    rivals["in clear"] = checkpoints.sqlite(str(folder / "plain.sqlite"))
    acts = {name: put_and_get(saver, checkpoint) for name, saver in rivals.items()}
    compare("sqlite put a step", {name: put for name, (put, _) in acts.items()}, rounds)
    compare("sqlite get", {name: get for name, (_, get) in acts.items()}, rounds)
    with own_postgres() as postgres:
        from tests.checkpoints.conftest import new_database

        savers = {"sealed": checkpoints.postgres(new_database(postgres.conninfo), seal=seal)}
        savers["in clear"] = checkpoints.postgres(new_database(postgres.conninfo))
        acts = {name: put_and_get(saver, checkpoint) for name, saver in savers.items()}
        compare("postgres put a step", {name: put for name, (put, _) in acts.items()}, rounds)
        compare("postgres get", {name: get for name, (_, get) in acts.items()}, rounds)


def measure_chunks(folder: Path, seal: Keyring, rounds: int) -> None:
    """Compare searches and writes of 2,000 chunks."""
    text = "the supplier shall notify a breach of number {} within {} days of receipt to the authority " * 4
    texts = [text.replace("{}", str(n % 97)) for n in range(2000)]
    chunks = [Chunk(each, f"d{n}", "title", 0, 1, readers=("public",)) for n, each in enumerate(texts)]
    kinds: dict[str, Callable[[Path, Keyring | None], Any]] = {
        "words": lambda path, keys: WordsIndex(path / "words.sqlite", seal=keys),
        "chroma": lambda path, keys: ChromaIndex(path / "chroma", HashEmbeddings(), seal=keys),
    }
    for kind, make in kinds.items():
        indexes = {}
        for name, keys in (("sealed", seal), ("in clear", None)):
            place = folder / kind / name
            place.mkdir(parents=True)
            indexes[name] = make(place, keys)
            began = time.perf_counter()
            indexes[name].add(chunks)
            each = (time.perf_counter() - began) / len(chunks) * 1e6
            print(f"{kind + ' add a chunk':22} {name:22} {each:9.0f} µs")
        asked: dict[str, Callable[[], Any]] = {
            name: partial(index.search, "breach within 7 days", CALLER, 12) for name, index in indexes.items()
        }
        compare(f"{kind} search", asked, max(20, rounds // 5))


def main(options: dict[str, str]) -> None:
    """Run all of it."""
    checkpoint = checkpoint_of(int(options.get("messages", "50")), int(options.get("size", "400")))
    rounds = int(options.get("rounds", "300"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seal = Keyring(folder / "masters.json", folder / "keys.sqlite")
        seal.rotate()
        measure_threads(folder, seal, checkpoint, rounds)
        measure_chunks(folder, seal, rounds)


if __name__ == "__main__":
    main(dict(each.split("=", 1) for each in sys.argv[1:]))
