"""Keeps what was found of held-back rows as it is found: a scoring that was killed goes on behind that."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from markgraph.errors import StorageError
from markgraph.ingestion.interrupt import check_interrupted
from markgraph.training.port import Scores
from markgraph.training.rows import Row

Values = Mapping[str, float]
"""Metric to its value, of one row."""


class Journal:
    """A file of one JSON line a row, in the rows' order: numbers only, and no text of theirs."""

    def __init__(self, place: Path, about: Sequence[str], tell: Callable[[int, int], object]) -> None:
        """Keep values in `place`.

        Args:
            about: whatever else the values depend on: another model's are not gone on with.
            tell: is given how many rows were scored, and of how many.
        """
        self._place, self._about, self.tell = place, about, tell

    def __call__(
        self, score: Callable[[Sequence[Row]], Scores], rows: Sequence[Row], at_once: int = 1
    ) -> Scores:
        """Return the values of all rows; those that the file has are not asked for again.

        Raises:
            StorageError: the file can't be written.
            KeyboardInterrupt: somebody pressed Ctrl-C; what was found is kept.
        """
        head = json.dumps(sha256(json.dumps([*self._about, *rows]).encode()).hexdigest())
        found = self._kept(head)
        if len(found) > len(rows):
            found = []
        if not found:
            self._add("w", [head])
        self.tell(len(found), len(rows))
        for begin in range(len(found), len(rows), at_once):
            check_interrupted()
            made = list(_by_row(score(rows[begin : begin + at_once])))
            self._add("a", map(json.dumps, made))
            found += made
            self.tell(len(found), len(rows))
        return _together(found)

    def _kept(self, head: str) -> list[Values]:
        """Return what the file has of the rows and models that `head` stands for, and leave nothing else."""
        try:
            text = self._place.read_text("utf-8")
            first, *lines = text.split("\n")[:-1]  # behind the last is what a kill left half written
            found = [json.loads(line) for line in lines] if first == head else []
        except (OSError, ValueError):  # nothing was scored yet, or the disk has lost it
            return []
        if found and not text.endswith("\n"):
            os.truncate(self._place, len("\n".join([first, *lines, ""]).encode()))
        return found

    def _add(self, mode: str, lines: Iterable[str]) -> None:
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            with self._place.open(mode, encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
        except OSError as error:
            raise StorageError(f"Could not write {self._place}: {error}.") from error


def _by_row(scores: Scores) -> Iterator[Values]:
    for values in zip(*scores.values(), strict=True):
        yield dict(zip(scores, values, strict=True))


def _together(found: Sequence[Values]) -> Scores:
    scores: dict[str, Any] = defaultdict(list)
    for values in found:
        for metric, value in values.items():
            scores[metric].append(value)
    return dict(scores)
