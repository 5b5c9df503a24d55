"""What rows come from: the port, and how a source makes a row."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol, get_args

from markgraph.errors import UsageError
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.training.rows import Kind, Row

KINDS: tuple[Kind, ...] = get_args(Kind)
COLUMNS: Mapping[Kind, tuple[str, ...]] = {
    "chat": ("messages", "completion"),
    "task": ("messages", "reference"),
    "pair": ("messages", "chosen", "rejected"),
    "rated": ("messages", "completion", "good"),
    "text": ("text",),
    "search": ("query", "positive", "negatives"),
    "entailment": ("premise", "hypothesis", "label"),
}
"""What is learned from in a row of each kind."""
LeaveOut = Callable[[str, str, str], None]
"""Told the source, a reason that many may share, and the id of what was left out; never its text."""


class Source(Protocol):
    """Where rows come from."""

    def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterable[Row]:
        """Yield rows of `kind`, the same in the same order while what they are taken from is the same.

        Each has its documents, and who may read all of them; whether `caller` may train on it is decided
        later.

        Args:
            kind: what the method learns from.
            caller: what they may not read in an index is, for them, not there.
            leave_out: told of all that no row could be made of.

        Raises:
            UsageError: it has none of that kind, or there is nothing to read.
        """


def row_of(
    kind: Kind, columns: Mapping[str, Any], source: str, documents: Sequence[str], permissions: Permissions
) -> Row:
    """Return a row of `kind`; its id is made of nothing but what is learned from."""
    learned = {name: columns[name] for name in COLUMNS[kind]}
    canonical = json.dumps(learned, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    whose = Row(
        id=digest(canonical),
        source=source,
        documents=sorted(set(documents)),
        readers=list(permissions.readers),
        classification=permissions.classification,
        tenant=permissions.tenant,
    )
    row: Row = {**whose, **learned}  # type: ignore[typeddict-item]  # the columns of that kind
    return row


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return sha256(text.encode()).hexdigest()


def refuse_kind(kind: Kind, able: Sequence[Kind], source: str) -> None:
    """Refuse a kind of row that a source has not.

    Raises:
        UsageError: saying which it has.
    """
    if kind not in able:
        raise UsageError(
            f"{source} has no rows of kind {kind!r}. Allowed: {', '.join(able)}. "
            "Choose another method, or another source of data."
        )
