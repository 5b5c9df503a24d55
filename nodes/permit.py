"""Brings the permissions of what is in the index in line with the rules."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from markgraph.ingestion.batches import batches
from markgraph.ingestion.compare import Comparison
from markgraph.ingestion.report import Details, row
from markgraph.ingestion.rules import takes_away
from markgraph.ingestion.store import Store
from markgraph.security.caller import Caller, caller_of
from markgraph.security.permissions import Permissions
from markgraph.state import Owned

TOGETHER = 100
"""Documents whose permissions are changed in one go."""


@dataclass(frozen=True)
class Permit:
    """Changes permissions before anything else is done, and first those that take something away.

    No document is read: the ledger knows what each says of itself.
    """

    comparison: Comparison
    store: Store
    details: Details

    def __call__(self, state: Owned, runtime: Runtime[Caller]) -> dict[str, Any]:  # noqa: ARG002
        """Return how many documents others may read now."""
        tenant = caller_of(runtime).tenant
        self.details.begin()
        permitted = sum(
            self._change(sources, permissions, tenant)
            for narrows in (True, False)
            for sources, permissions in self._grouped(tenant, narrows=narrows)
        )
        return {"permitted": permitted}

    def _grouped(self, tenant: str, *, narrows: bool) -> Iterator[tuple[list[str], Permissions]]:
        """Yield the documents whose permissions change, together with those that get the same ones."""
        for page in batches(self._changes(tenant, narrows=narrows), TOGETHER):
            groups: defaultdict[Permissions, list[str]] = defaultdict(list)
            for source, permissions in page:
                groups[permissions].append(source)
            yield from ((sources, permissions) for permissions, sources in groups.items())

    def _changes(self, tenant: str, *, narrows: bool) -> Iterator[tuple[str, Permissions]]:
        for known in self.comparison.ledger.within(tenant, self.comparison.corpus.name):
            permissions = self.comparison.permissions(known, tenant)
            if known.permissions == permissions or self.comparison.is_kept(known, tenant):
                continue
            if narrows == (known.permissions is None or takes_away(known.permissions, permissions)):
                yield known.source, permissions

    def _change(self, sources: list[str], permissions: Permissions, tenant: str) -> int:
        self.store.permit(tenant, self.comparison.corpus.name, sources, permissions)
        self.details.add(row("permitted", source, permissions) for source in sources)
        return len(sources)
