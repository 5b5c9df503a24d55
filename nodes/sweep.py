"""Takes out of the index what has left the corpus."""

from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from markgraph.ingestion.compare import Comparison
from markgraph.ingestion.plan import Plan
from markgraph.ingestion.report import Details, row
from markgraph.ingestion.store import Store
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, writing
from markgraph.state import IngestState


@does(Effect.READS_PRIVATE, Effect.STORES)
@dataclass(frozen=True)
class Sweep:
    """Removes the documents that are gone, and closes the run."""

    comparison: Comparison
    store: Store
    details: Details

    def needs(self, state: IngestState) -> list[Need]:  # noqa: ARG002
        """Return the permission to change documents."""
        return [writing(self.comparison.corpus.name)]

    def __call__(self, state: IngestState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return how many documents were removed, and how many of the rest nobody may read."""
        tenant = caller_of(runtime).tenant
        plan = Plan(self.comparison.ledger, state["run"])
        removed = 0
        with plan.given_up_on_error(), self.comparison.ledger.written_by(plan.run):
            for sources in plan.gone():
                self.store.remove(tenant, sources)
                self.details.add(row("removed", source) for source in sources)
                removed += len(sources)
        plan.close()
        unreadable = self.comparison.ledger.count_unreadable(tenant, self.comparison.corpus.name)
        return {"removed": removed, "unreadable": unreadable}
