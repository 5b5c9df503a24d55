"""Takes out of the index what has left the corpus."""

from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from markgraph.ingestion.ledger import Ledger
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of
from markgraph.state import IngestState


@dataclass(frozen=True)
class Sweep:
    """Removes the chunks of documents that are gone, first from the index, then from the ledger."""

    index: Index
    ledger: Ledger

    def __call__(self, state: IngestState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return the sources that were removed."""
        tenant = caller_of(runtime).tenant
        for source in state["gone"]:
            self.index.remove(self.ledger.chunks(tenant, source))
            self.ledger.forget(tenant, source)
        return {"removed": state["gone"]}
