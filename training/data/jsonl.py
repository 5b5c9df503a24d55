"""Takes rows from a file of records, in any of the layouts of `markgraph.training.data.layouts`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markgraph.errors import ConfigError, UsageError
from markgraph.security.caller import Caller
from markgraph.security.classification import CLASSIFICATIONS, level_of
from markgraph.security.permissions import Permissions, check_readers
from markgraph.training.data.layouts import Columns, LayoutError, as_kind, standard
from markgraph.training.data.records import Record, records
from markgraph.training.data.source import COLUMNS, LeaveOut, row_of
from markgraph.training.rows import Kind, Row

HALVES = "has half a character, which no text can be written with"
FOREIGN = "has nothing to make a row of kind {kind} of"


@dataclass(frozen=True)
class Jsonl:
    """Reads a record at a time, so a file may be larger than memory; a `.json` list may not."""

    path: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """What the file calls a field, by what it is called here: `{question: prompt, answer: gold}`."""
    readers: Sequence[str] | None = None
    """Who may read the records, unless one says so itself in `readers`; None: nobody is known to."""
    classification: str = CLASSIFICATIONS[0]
    final: str | None = None
    """What stands before the final answer in a long one, as `####` in GSM8K: the reference follows it."""

    def __post_init__(self) -> None:
        if self.readers is not None:
            check_readers(self.readers)
        level_of(self.classification)

    def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterator[Row]:
        """Yield the rows of `kind` in the file's order.

        Raises:
            ConfigError: no path is set.
            UsageError: there is no such file, or nothing in it can be learned from.
        """
        if self.path is None:
            raise ConfigError("data.path is not set. Set data.path=FILE.jsonl.")
        path = Path(self.path)
        yield from self.from_records(records(path), path.name, kind, caller, leave_out)

    def from_records(
        self,
        found: Iterable[tuple[str, Record | None]],
        source: str,
        kind: Kind,
        caller: Caller,
        leave_out: LeaveOut,
    ) -> Iterator[Row]:
        """Yield the rows of records, each of which comes with its place."""
        seen, made = Counter[str](), 0
        for place, record in found:
            try:
                for row in self._made(kind, place, record, source, seen, caller.tenant):
                    made += 1
                    yield row
            except LayoutError as error:
                leave_out(source, str(error), place)
        if not made:
            raise UsageError(self._nothing(source, kind, seen))

    def _made(
        self, kind: Kind, place: str, record: Record | None, source: str, seen: Counter[str], tenant: str
    ) -> list[Row]:
        """Return what one record gives.

        Raises:
            LayoutError: nothing.
        """
        if record is None:
            raise LayoutError("is no JSON object")
        record = record | {ours: record[theirs] for ours, theirs in self.columns.items() if theirs in record}
        seen.update(record.keys())
        examples = as_kind(self._finished(standard(record)), kind)
        if not examples:
            raise LayoutError(FOREIGN.format(kind=kind))
        documents = _listed(record.get("documents"), [place])
        permissions = self._permissions(record, tenant)
        right = _listed(record.get("right"), []) if kind == "search" else []
        try:
            "".join((*documents, *permissions.readers, permissions.tenant, *right)).encode()
            rows = [row_of(kind, example, source, documents, permissions) for example in examples]
        except UnicodeEncodeError as error:
            raise LayoutError(HALVES) from error
        return [{**row, "right": right} for row in rows] if right else rows

    def _permissions(self, record: Record, tenant: str) -> Permissions:
        """Return who may read a record; what it says itself goes before the setting."""
        readers = _listed(record.get("readers"), list(self.readers or ()))
        level = record.get("classification", level_of(self.classification))
        if not isinstance(level, int) or not 0 <= level < len(CLASSIFICATIONS):
            raise LayoutError("has a classification that is no level")
        level = max(level, level_of(self.classification))
        return Permissions(str(record.get("tenant", tenant)), tuple(readers), level)

    def _finished(self, columns: Columns) -> Columns:
        reference, mark = columns.get("reference"), self.final
        if mark is None or not isinstance(reference, list):
            return columns
        said = [each.rpartition(mark)[2].strip() if isinstance(each, str) else each for each in reference]
        return columns | {"reference": said}

    def _nothing(self, source: str, kind: Kind, seen: Counter[str]) -> str:
        fields = ", ".join(name for name, _ in seen.most_common(12)) or "none"
        return (
            f"{source} has nothing to make a row of kind {kind} of, which needs "
            f"{', '.join(COLUMNS[kind])}. Its fields: {fields}.\n"
            "Rename some: 'data.columns={question: FIELD, answer: FIELD}'. The layouts that are known: "
            "messages; prompt and completion; prompt, chosen and rejected; question and answer; text."
        )


def _listed(value: Any, default: list[str]) -> list[str]:
    """Return a field that is a list of texts, or the default where it is missing."""
    if value is None:
        return default
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise LayoutError("has documents, readers or right passages that are no list of texts")
    return value
