"""Brings the permissions of what is in the index in line with the rules."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

from langgraph.runtime import Runtime

from markgraph.batches import batches
from markgraph.ingestion.compare import Comparison
from markgraph.ingestion.lock import alone
from markgraph.ingestion.report import Details, row
from markgraph.ingestion.rules import takes_away
from markgraph.ingestion.store import Store
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.permissions import Permissions
from markgraph.security.policy import Need, writing
from markgraph.state import Owned

TOGETHER = 100
"""Documents whose permissions are changed in one go."""


class Change(NamedTuple):
    """New permissions of a document."""

    source: str
    permissions: Permissions
    narrows: bool
    """Whether somebody may lose something by it."""


@does(Effect.READS_PRIVATE, Effect.STORES)
@dataclass(frozen=True)
class Permit:
    """Changes permissions before anything else is done, and first those that take something away.

    No document is read: the ledger knows what each says of itself.
    """

    comparison: Comparison
    store: Store
    details: Details

    def needs(self, state: Owned) -> list[Need]:  # noqa: ARG002
        """Return the permission to change documents."""
        return [writing(self.comparison.corpus.name)]

    def __call__(self, state: Owned, runtime: Runtime[Caller]) -> dict[str, Any]:  # noqa: ARG002
        """Begin a run, and return how many documents others may read now.

        Raises:
            ShreddedError: nothing of the caller's tenant is kept any more.
        """
        tenant, run, ledger = caller_of(runtime).tenant, uuid4().hex, self.comparison.ledger
        if ledger.seal is not None:
            ledger.seal.check(tenant)
        with alone(ledger.path.parent):
            ledger.describe(self.store.index.stores)
            ledger.begin_run(run)
            self.details.begin()
            seen = self._permit(tenant, narrows=True)
            if seen[False]:
                self._permit(tenant, narrows=False)
        return {"run": run, "permitted": seen.total()}

    def _permit(self, tenant: str, *, narrows: bool) -> Counter[bool]:
        """Make the changes that take something away, or the others; return how many there are of each."""
        seen: Counter[bool] = Counter()
        for page in batches(self._changes(tenant), TOGETHER):
            seen.update(change.narrows for change in page)
            groups: defaultdict[Permissions, list[str]] = defaultdict(list)
            for change in page:
                if change.narrows is narrows:
                    groups[change.permissions].append(change.source)
            for permissions, sources in groups.items():
                self.store.permit(tenant, self.comparison.corpus.name, sources, permissions)
                self.details.add(row("permitted", source, permissions) for source in sources)
        return seen

    def _changes(self, tenant: str) -> Iterator[Change]:
        """Yield the documents whose permissions are to change, as long as they have not been changed."""
        for known in self.comparison.ledger.within(tenant, self.comparison.corpus.name):
            new = self.comparison.permissions(known, tenant)
            if known.permissions != new:
                narrows = known.permissions is None or takes_away(known.permissions, new)
                yield Change(known.source, new, narrows)
