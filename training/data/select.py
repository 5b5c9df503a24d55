"""Chooses the rows that a run learns from and those that it is judged by, and reports what it left out.

Reads the source once. To find near-duplicates it keeps some 14 kB of each row in memory, however long that
is; without (similar=null), its id, its documents, and digests of what it is asked and shown.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from markgraph.errors import ConfigError, UsageError
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions, together
from markgraph.security.policy import Policy, Resource
from markgraph.security.sealing.rows import SealedRows
from markgraph.training.data.duplicates import NearDuplicates
from markgraph.training.data.links import Links
from markgraph.training.data.report import Counts
from markgraph.training.data.source import Source
from markgraph.training.data.split import Connected, held_back
from markgraph.training.rows import Kind, Row
from markgraph.training.runs import read_json, write_json

TRAIN, HELD, REPORT = "rows/train.jsonl", "rows/held.jsonl", "report.json"
"""What lies in the folder of a run afterwards; the report comes last."""
UNKNOWN_READERS, UNREADABLE = (
    "nobody is known who may read it",
    "the caller may not train on all its documents",
)
REPEATED, NEAR, LONG = "the same as an earlier row", "nearly the same as an earlier row", "too many tokens"


@dataclass(frozen=True)
class Selection:
    """Which rows are taken, of all that the source has and the caller may train on."""

    held: float = 0.1
    """The part of the rows that is held back; 0 holds back none."""
    similar: float | None = 0.85
    """Rows with so many of their shingles in common are near-duplicates; None keeps all but equal ones."""
    limit: int | None = None
    """Take the first so many rows."""

    def __post_init__(self) -> None:
        if not 0 <= self.held < 1:
            raise ConfigError(f"held is {self.held}. Allowed: 0 up to, but not including, 1.")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is {self.limit}. Allowed: 1 or more, or null for all rows.")


@dataclass(frozen=True)
class Selector:
    """Chooses for one caller."""

    caller: Caller
    policy: Policy
    selection: Selection
    seed: int = 0
    objection: Callable[[Row], str | None] | None = None
    """Says why the model can't take a row; None: it takes any."""
    sealing: SealedRows | None = None
    """Keeps the rows; None leaves them in clear."""

    def select(self, source: Source, kind: Kind, folder: Path) -> dict[str, Any]:
        """Write the rows and the report into `folder`, and return the report; what is done stays.

        Raises:
            UsageError: no row is left, or none can be held back.
        """
        if (report := folder / REPORT).exists():
            done: dict[str, Any] = read_json(report)
            return done
        counts, connected, links = Counts(), Connected(), Links()
        draft = folder / "rows" / "all.jsonl.draft"
        draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # not everybody may read the rows
        sealing = self.sealing or SealedRows(folder, self.caller.tenant, None)
        with draft.open("w", encoding="utf-8") as lines:
            for number, row in enumerate(self._chosen(source, kind, counts)):
                links.add(row, connected.add(row["documents"] or [row["id"]]))
                lines.write(sealing.line(draft, number, json.dumps(row, ensure_ascii=False) + "\n"))
        if not connected.rows:
            raise UsageError(_nothing(counts))
        links.connect(connected)
        made = self._split(draft, folder, connected, sealing)
        made |= {"kind": kind, "seed": self.seed, "selection": asdict(self.selection)}
        made |= {"left_out": counts.reasons(), "sources": counts.by_source()}
        draft.unlink()
        write_json(report, made)
        return made

    def _chosen(self, source: Source, kind: Kind, counts: Counts) -> Iterator[Row]:
        """Yield the rows that may be used, each once."""
        near = None if self.selection.similar is None else NearDuplicates(self.selection.similar)
        seen: set[bytes] = set()
        for row in source.rows(kind, self.caller, counts.leave_out):
            if reason := self._objection(row, seen) or (near and near.add(row) and NEAR):
                counts.leave_out(row["source"], reason, row["id"])
                continue
            seen.add(bytes.fromhex(row["id"]))
            counts.use(row["source"])
            yield row
            if len(seen) == self.selection.limit:
                return

    def _objection(self, row: Row, seen: set[bytes]) -> str | None:
        """Return why a row is not used; permissions first: what is forbidden must not hide what isn't."""
        if not row["readers"]:
            return UNKNOWN_READERS
        if not self._may_train(row):
            return UNREADABLE
        if bytes.fromhex(row["id"]) in seen:
            return REPEATED
        return self.objection(row) if self.objection else None

    def _may_train(self, row: Row) -> bool:
        permissions = permissions_of(row, self.caller.tenant)
        return all(
            self.policy.check(self.caller, "documents:train", Resource("document", name, permissions)).allowed
            for name in row["documents"] or ["*"]
        )

    def _split(self, draft: Path, folder: Path, connected: Connected, sealing: SealedRows) -> dict[str, Any]:
        """Write each row to its side, and return what the report says of both."""
        held = held_back(connected, self.selection.held, self.seed)
        sides = {name: _Side(folder / name, sealing) for name in (TRAIN, HELD)}
        permissions: set[Permissions] = set()
        for line in sealing.lines(draft):
            row: Row = json.loads(line)
            root = connected.root(min(row["documents"] or [row["id"]]))
            sides[HELD if root in held else TRAIN].add(line)
            if root not in held:
                permissions.add(permissions_of(row, self.caller.tenant))
        for side in sides.values():
            side.close()
        return _both(sides, connected, held) | readers_of_model(permissions)


class _Side:
    """A file of rows in the making."""

    def __init__(self, place: Path, sealing: SealedRows) -> None:
        self.place, self.rows, self._digest, self._sealing = place, 0, sha256(), sealing
        self._draft = place.with_name(f"{place.name}.draft")
        self._lines = self._draft.open("w", encoding="utf-8")

    def add(self, line: str) -> None:
        self._lines.write(self._sealing.line(self.place, self.rows, line))
        self._digest.update(line.encode())
        self.rows += 1

    def close(self) -> None:
        self._lines.close()
        self._draft.replace(self.place)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _both(sides: dict[str, _Side], connected: Connected, held: set[str]) -> dict[str, Any]:
    there = sum(connected.root(document) in held for document in connected.documents())
    return {
        "rows": sides[TRAIN].rows,
        "held": sides[HELD].rows,
        "documents": {"train": len(connected.documents()) - there, "held": there},
        "sha256": {side.place.name: side.sha256 for side in sides.values()},
    }


def permissions_of(row: Row, tenant: str) -> Permissions:
    """Return who may read a row; one that names no tenant is of `tenant`."""
    return Permissions(row.get("tenant", tenant), tuple(row["readers"]), row.get("classification", 0))


def readers_of_model(permissions: set[Permissions]) -> dict[str, Any]:
    """Return who may use what learned from rows with these permissions: who may read all of them.

    `readers` says it in one set of reader atoms, which is empty where only a caller with several of them may;
    `reader_sets` says it exactly: one atom of each set is needed.
    """
    all_of_them = together(permissions)
    return {
        "tenant": all_of_them.tenant,
        "readers": list(all_of_them.readers),
        "reader_sets": sorted([*each] for each in {tuple(sorted(each.readers)) for each in permissions}),
        "classification": all_of_them.classification,
    }


def _nothing(counts: Counts) -> str:
    reasons = "; ".join(f"{count} {reason}" for reason, count in counts.reasons().items()) or "it has none"
    return (
        f"No row is left to learn from: {reasons}.\nA file's rows need readers (data.readers=[public]), and "
        "the caller the permission documents:train, and to be a reader of all documents of a row."
    )
