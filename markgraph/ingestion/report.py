"""Keeps what a run did to each document in a file, where millions of them are no burden."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markgraph.retrieval.storage import storage_errors
from markgraph.security.classification import CLASSIFICATIONS
from markgraph.security.permissions import Permissions

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Details:
    """One JSON object a line for each document that the last run did something about."""

    path: Path | None = None
    """None keeps nothing."""

    def __post_init__(self) -> None:
        if self.path is not None:
            object.__setattr__(self, "path", Path(self.path).expanduser())

    @property
    def of_dry_run(self) -> "Details":
        """Return where a dry run puts its own: what the last run did stays on record."""
        if self.path is None:
            return self
        path = self.path
        return Details(path.with_name(f"{path.stem}.dry_run{path.suffix}"))

    def begin(self) -> None:
        """Forget the run before."""
        self._write((), os.O_TRUNC)

    def add(self, rows: Iterable[Row]) -> None:
        """Note what was done."""
        self._write(rows, os.O_APPEND)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield what was noted, in that order."""
        if self.path is not None and self.path.exists():
            with self.path.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)

    def _write(self, rows: Iterable[Row], mode: int) -> None:
        if self.path is None:
            return
        path = self.path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Names of documents are nobody else's business on a shared machine.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | mode, 0o600)
            with open(handle, "w" if mode == os.O_TRUNC else "a", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def row(what: str, source: str, permissions: Permissions | None = None, **more: object) -> Row:
    """Return a line of the details."""
    if permissions is None:
        return {"what": what, "source": source, **more}
    level = CLASSIFICATIONS[permissions.classification]
    readers = sorted(permissions.readers)
    return {"what": what, "source": source, "readers": readers, "classification": level, **more}
