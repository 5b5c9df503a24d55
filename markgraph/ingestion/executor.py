"""Where documents are read and chunked: in threads here, or wherever another executor takes them."""

import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import ClassVar, Protocol

from markgraph.errors import ConfigError
from markgraph.ingestion.corpora import Item
from markgraph.ingestion.interrupt import check_interrupted
from markgraph.ingestion.prepare import Prepare, Prepared, Unreadable, prepare_item

Outcomes = Generator[Prepared | Unreadable, None, None]
LOOKS = 0.2
"""Seconds between looks whether Ctrl-C was pressed."""


class Executor(Protocol):
    """Takes documents through parsing and chunking, and maybe embedding; the index stays with who asked."""

    @property
    def step_size(self) -> int:
        """Return how many documents are worth the time that one `run` takes to begin."""

    def run(self, items: Sequence[Item], prepare: Prepare) -> Outcomes:
        """Yield what became of each item, once, in the order of `items`, however long each of them takes.

        Chunks may come with vectors of `prepare.embedder`, if there is one; the index makes the others.
        Only some results wait to be taken at a time. `prepare` and `items` may cross to other processes.
        Closing the generator ends the work.

        Raises:
            MarkError: something is wrong that is not a document's fault.
        """


@dataclass(frozen=True)
class LocalExecutor:
    """Reads in threads of this process; a parser that runs in a process of its own is waited for there.

    Raises:
        ConfigError: there are no workers, or none may read anything.
    """

    workers: int | None = None
    """Documents that are read at once; None: as many as there are cores."""
    ahead: int = 4
    """How many documents each worker may be ahead of the index."""
    step_size: ClassVar[int] = 512

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("ahead", self.ahead)):
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"executor.{name} is {value!r}. Allowed: a whole number from 1.")

    def run(self, items: Sequence[Item], prepare: Prepare) -> Outcomes:
        """Yield what became of each item, in the order of `items`."""
        workers = self.workers or os.cpu_count() or 1
        pool = ThreadPoolExecutor(workers, thread_name_prefix="read")
        waiting: deque[Future[Prepared | Unreadable]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(prepare_item, item, prepare))
                if len(waiting) >= workers * self.ahead:
                    yield _outcome(waiting.popleft())
            while waiting:
                yield _outcome(waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _outcome(reading: "Future[Prepared | Unreadable]") -> Prepared | Unreadable:
    """Wait for a document, unless Ctrl-C is pressed meanwhile."""
    while not wait([reading], LOOKS).done:
        check_interrupted()
    return reading.result()
