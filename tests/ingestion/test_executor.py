import threading
import time
from pathlib import Path

import pytest

from markgraph.documents.types import Document
from markgraph.errors import ConfigError
from markgraph.ingestion.batches import ChunkBatches
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.corpora import Item
from markgraph.ingestion.executor import Executor, LocalExecutor
from markgraph.ingestion.prepare import Prepare, Prepared, Unreadable
from markgraph.ingestion.rules import Rules
from markgraph.retrieval.types import Chunk
from markgraph.security.permissions import Permissions
from tests.ingestion.executor_suite import ExecutorSuite


class TestLocalExecutor(ExecutorSuite):
    def make_executor(self) -> Executor:
        return LocalExecutor(workers=3)


class TestOneWorker(ExecutorSuite):
    def make_executor(self) -> Executor:
        return LocalExecutor(workers=1, ahead=1)


PREPARE = Prepare(Chunker(), Rules(), "acme", "corpus")


def test_reads_several_at_once_and_only_some_ahead() -> None:
    both = threading.Barrier(2, timeout=20)
    begun: list[int] = []

    def load(at: int) -> Document:
        begun.append(at)
        if at < 2:
            both.wait()  # passes only where two are read at the same time
        return Document(str(at), "text", "title")

    items = [Item(str(at), "f", lambda at=at: load(at)) for at in range(100)]
    outcomes = LocalExecutor(workers=2, ahead=4).run(items, PREPARE)
    assert next(outcomes).source == "0"
    time.sleep(0.2)
    assert len(begun) <= 8, "as long as nobody takes results, no more is read"
    assert [each.source for each in outcomes] == [str(at) for at in range(1, 100)]


@pytest.mark.parametrize("setting", [{"workers": 0}, {"ahead": 0}, {"workers": 1.5}, {"workers": True}])
def test_a_setting_that_lets_nobody_read_is_an_error(setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="Allowed: a whole number from 1"):
        LocalExecutor(**setting)


def document(name: str, chunks: int) -> Prepared:
    parts = tuple(Chunk("text", name, name, at, at + 4) for at in range(chunks))
    return Prepared(name, {}, Permissions(), parts)


def test_batches_are_cut_by_chunks_and_never_within_a_document() -> None:
    stream = [
        document("a", 3),
        document("b", 2),
        Unreadable("c", "k", "r"),
        document("d", 9),
        document("e", 1),
    ]
    batches = [[each.source for each in batch] for batch in ChunkBatches(stream, 5)]
    assert batches == [["a", "b"], ["c", "d"], ["e"]]


def test_a_batch_does_not_wait_for_slow_documents() -> None:
    batches = ChunkBatches([document("a", 1), document("b", 1)], 5, seconds=0)
    assert [len(batch) for batch in batches] == [1, 1]


def test_remembers_how_long_it_waited(tmp_path: Path) -> None:
    def slow() -> Document:
        time.sleep(0.2)
        return Document("a", "text", "title")

    batches = ChunkBatches(LocalExecutor().run([Item("a", "f", slow)], PREPARE), 5)
    assert len(list(batches)) == 1
    assert 0.2 <= batches.waited < 5
