"""Reads judged rows: a file of one's own to score on, so that poisoned data can't judge itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from markgraph.errors import UsageError
from markgraph.security.caller import Caller
from markgraph.training.data.jsonl import Jsonl
from markgraph.training.data.records import records
from markgraph.training.data.source import COLUMNS
from markgraph.training.rows import Kind, Row


@dataclass(frozen=True)
class Judged:
    """A file of records, in any of the layouts of `markgraph.training.data.layouts`."""

    path: Path
    kind: Kind
    """What the method is scored on."""

    def rows(self, caller: Caller, objection: Callable[[Row], str | None] | None = None) -> list[Row]:
        """Return the rows in the file's order.

        Args:
            caller: whose rows they are, where they name no tenant.
            objection: says why a row is no good; None where it is.

        Raises:
            UsageError: there is no such file, nothing in it, or a line that gives no such row.
        """
        source, found = Jsonl(), list[Row]()
        for place, record in records(self.path):
            for row in source.from_records(
                [(place, record)], self.path.name, self.kind, caller, self._refuse
            ):
                if why := objection and objection(row):
                    self._refuse(row["source"], why, place)
                found.append(row)
        if not found:
            raise self._error(f"{self.path} holds no row")
        return found

    def _refuse(self, source: str, reason: str, place: str) -> None:  # noqa: ARG002 -- the place names it
        raise self._error(f"{place}: {reason}")

    def _error(self, what: str) -> UsageError:
        return UsageError(
            f"graph.evaluate.rows: {what}. Allowed: JSON lines, or a list in a .json file, in any layout "
            f"that data=jsonl reads, each with what a row of kind {self.kind} needs: "
            f"{', '.join(COLUMNS[self.kind])}. Correct that line, or take it out."
        )
