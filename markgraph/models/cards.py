"""The card of a registered model: what it was made of, who may use it, and what was found of it."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions, may_read


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Plain):
    """The weights that a training started from."""

    name: str
    source: str
    """Reference to them, as `markgraph.models.source.resolve` takes it."""
    sha256: str
    """What `markgraph.models.source.digest` gives for their files."""


class Lineage(NamedTuple):
    """What a model learned from, as its rows say."""

    rows: tuple[str, ...]
    """Ids of the rows: hashes of what was learned."""
    documents: tuple[str, ...]
    """Ids of the documents that they were taken from."""
    audience: tuple[Permissions, ...]
    """Whoever has every one of these permissions may read all of it."""


class Card(_Plain):
    """What is known of a model when it is registered; it is never changed afterwards."""

    base: Origin | None = None
    """None for a model that was trained from scratch."""
    models: tuple[str, ...] = ()
    """References to all registered models that the run's config names: a teacher, a judge, ..."""
    method: str
    run: str
    """The training run. Its model is registered once, however often that is tried."""
    by: str
    """Who registers it."""
    tenant: str
    """Whose documents it learned from."""
    config: str
    """SHA-256 of the run's config."""
    rows: tuple[str, ...] = Field(default=(), repr=False)
    documents: tuple[str, ...] = Field(default=(), repr=False)
    audience: tuple[Permissions, ...]
    """Who may use it: callers who have every one of these permissions. Empty: nobody."""
    scores: dict[str, Any] = Field(default_factory=dict)
    verdict: dict[str, Any] = Field(default_factory=dict)
    parity: dict[str, Any] | None = None
    """What the comparison of the trained model with the served one found; None where nothing is served."""

    @property
    def rows_sha256(self) -> str:
        """Return one hash for all rows, whatever their order."""
        return sha256("".join(f"{row}\n" for row in sorted(self.rows)).encode()).hexdigest()


class Registered(_Plain):
    """A version of a model in the registry."""

    name: str
    version: int
    kind: Literal["adapter", "model"]
    added: str
    """UTC, in ISO 8601."""
    sha256: str
    """What `markgraph.models.source.digest` gives for its files."""
    card: Card


class Change(_Plain):
    """What became of a document since a model learned from it."""

    document: str
    what: Literal["removed", "permitted"]
    time: str
    permissions: Permissions | None = None
    """Who may read it since."""


def lineage(rows: Iterable[Mapping[str, Any]], tenant: str) -> Lineage:
    """Return what `rows` say of a model that learned from all of them.

    Args:
        rows: each with `id`, `documents`, `readers`, `classification` and `tenant`, as
            `markgraph.training.rows.Row` has them.
        tenant: whose a row is that doesn't say so.
    """
    ids, documents, audience = set(), set(), set()
    for row in rows:
        ids.add(row["id"])
        documents.update(row["documents"])
        readers, level = tuple(sorted(set(row["readers"]))), row.get("classification", 0)
        audience.add(Permissions(row.get("tenant", tenant), readers, level))
    order = sorted(audience, key=lambda each: (each.tenant, each.readers, each.classification))
    return Lineage(tuple(sorted(ids)), tuple(sorted(documents)), tuple(order))


def may_use(caller: Caller, audience: Iterable[Permissions]) -> bool:
    """Tell whether `caller` may read everything that a model with this `audience` learned from."""
    wanted = list(audience)
    known = bool(caller.subject and caller.tenant)
    return known and bool(wanted) and all(may_read(caller, each) for each in wanted)
