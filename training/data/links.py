"""Finds rows that are asked the same, or about the same passage: one of them tells what another is about."""

import json
from collections.abc import Iterator
from hashlib import sha256

from markgraph.training.data.split import Connected
from markgraph.training.rewards import passages_of
from markgraph.training.rows import Row

GENERIC = 0.5
"""What more than this part of all rows has in common, such as "Go on.", says nothing of any of them."""
_ASKED = ("query", "positive", "premise")


class Links:
    """Remembers what rows are asked and shown, by its digest, and one document of each that has it."""

    def __init__(self) -> None:
        self._known: dict[bytes, list[str]] = {}

    def add(self, row: Row, document: str) -> None:
        """Remember a row, by a document that stands for it."""
        for link in set(_links_of(row)):
            self._known.setdefault(link, []).append(document)

    def connect(self, connected: Connected) -> None:
        """Connect the documents of rows that have something in common."""
        most = GENERIC * connected.rows.total()
        for documents in self._known.values():
            if len(documents) <= most:
                connected.connect(documents)


def _links_of(row: Row) -> Iterator[bytes]:
    """Yield digests of a row's whole prompt, and of each passage and question: nothing for kinds without."""
    texts = [str(row[name]) for name in _ASKED if name in row]  # type: ignore[literal-required]
    if messages := row.get("messages"):
        texts += [json.dumps(messages, sort_keys=True), *passages_of(messages)]
    yield from (sha256(text.encode()).digest() for text in texts)
