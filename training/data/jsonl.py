"""Rows out of a file of JSON lines."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markgraph.errors import UsageError
from markgraph.training.rows import Kind, Row


@dataclass(frozen=True)
class Jsonl:
    """Rows as `markgraph.training.rows` has them, one a line."""

    path: str | None

    def rows(self, kind: Kind) -> Iterator[Row]:  # noqa: ARG002
        """Yield all rows."""
        if self.path is None:
            raise UsageError("Say what to learn from: data.path=FILE.jsonl")
        with Path(self.path).open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
