"""Cuts a stream of documents into batches to be written."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from markgraph.ingestion.prepare import Prepared, Unreadable


@dataclass
class ChunkBatches:
    """Cuts prepared documents into batches to be written at once."""

    stream: Iterable[Prepared | Unreadable]
    size: int
    """A batch is full when it has so many chunks."""
    seconds: float = 10.0
    """One is written at the latest after this time, lest a kill costs hours of reading scans."""
    waited: float = 0.0
    """Seconds spent waiting for documents."""

    def __iter__(self) -> Iterator[list[Prepared | Unreadable]]:
        """Yield batches of at least one document, without cutting a document."""
        batch: list[Prepared | Unreadable] = []
        chunks, began = 0, time.monotonic()
        for each in self._measured():
            batch.append(each)
            chunks += len(each.chunks) if isinstance(each, Prepared) else 0
            if chunks >= self.size or time.monotonic() - began >= self.seconds:
                yield batch
                batch, chunks, began = [], 0, time.monotonic()
        if batch:
            yield batch

    def _measured(self) -> Iterator[Prepared | Unreadable]:
        stream = iter(self.stream)
        while True:
            began = time.monotonic()
            each = next(stream, None)
            self.waited += time.monotonic() - began
            if each is None:
                return
            yield each
