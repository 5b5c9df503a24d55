"""Reads, chunks and indexes some documents."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from markgraph.documents.types import Document
from markgraph.errors import ConfigError
from markgraph.ingestion.batches import ChunkBatches
from markgraph.ingestion.compare import Comparison
from markgraph.ingestion.executor import Executor
from markgraph.ingestion.interrupt import check_interrupted
from markgraph.ingestion.listing import Listing
from markgraph.ingestion.plan import Plan
from markgraph.ingestion.prepare import Prepare, Prepared, Unreadable
from markgraph.ingestion.report import Details, Row, row
from markgraph.ingestion.store import Store
from markgraph.retrieval.types import Chunk
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.permissions import Permissions
from markgraph.security.policy import Need, writing
from markgraph.state import Failure, IngestState


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED, Effect.STORES)
@dataclass(frozen=True)
class IndexDocuments:
    """Takes the next documents through to the index; one that can't be read is reported and passed over.

    Documents are read while others are being indexed; only a few wait in between. A kill costs a second
    reading of what was not written yet, and nothing else.
    """

    comparison: Comparison
    listing: Listing
    executor: Executor
    chunker: Callable[[Document, Permissions], list[Chunk]]
    store: Store
    details: Details
    batch_size: int = 256
    """Chunks that are written at once, more where one document has more."""
    step_size: int | None = None
    """Documents that one step of the graph takes; None: as many as suit the executor."""

    def __post_init__(self) -> None:
        for name, value in (("batch_size", self.batch_size), ("step_size", self.step_size)):
            if value is not None and value < 1:
                raise ConfigError(f"graph.index_documents.{name} is {value}. Allowed: a whole number from 1.")

    def needs(self, state: IngestState) -> list[Need]:  # noqa: ARG002
        """Return the permission to change documents."""
        return [writing(self.comparison.corpus.name)]

    def __call__(self, state: IngestState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return what became of the next `step_size` documents."""
        with self.comparison.ledger.written_by(state["run"]):
            return self._step(state, runtime)

    def _step(self, state: IngestState, runtime: Runtime[Caller]) -> dict[str, Any]:
        tenant = caller_of(runtime).tenant
        plan = Plan(self.comparison.ledger, state["run"])
        taken, place = self.listing.take(plan, state["place"], self.step_size or self.executor.step_size)
        fingerprints = {source: fingerprint for source, (_, fingerprint) in taken.items()}
        rules, corpus = self.comparison.rules, self.comparison.corpus.name
        prepare = Prepare(self.chunker, rules, tenant, corpus, self.store.index.embedder)
        counts: Counter[str] = Counter()
        failures: list[Failure] = []
        items = [item for item, _ in taken.values()]
        with plan.given_up_on_error(), closing(self.executor.run(items, prepare)) as outcomes:
            stream = ChunkBatches(outcomes, self.batch_size)
            for batch in stream:
                read = [each for each in batch if isinstance(each, Prepared)]
                counts += self._write(read, fingerprints, tenant)
                failures += self._pass_over([each for each in batch if isinstance(each, Unreadable)], tenant)
                runtime.stream_writer({"read": len(batch)})
                check_interrupted()
        return {
            **counts,
            "failed": len(failures),
            "failures": failures,
            "waited": stream.waited,
            "pending": 0 if place is None else state["pending"] - len(taken),
            "place": place or 0,
        }

    def _write(self, read: Sequence[Prepared], fingerprints: dict[str, str], tenant: str) -> Counter[str]:
        """Put documents into the index, and count them."""
        known = self.comparison.ledger.known(tenant, (each.source for each in read))
        before = {source for source, each in known.items() if each.fingerprint is not None}
        self.store.write(
            tenant,
            self.comparison.corpus.name,
            [(each, fingerprints[each.source]) for each in read],
        )
        rows = [_row(each, "changed" if each.source in before else "added") for each in read]
        self.details.add(rows)
        return Counter(each["what"] for each in rows) + Counter(chunks=sum(len(each.chunks) for each in read))

    def _pass_over(self, broken: Sequence[Unreadable], tenant: str) -> list[Failure]:
        """Return why documents were not read; their last good versions stay."""
        known = self.comparison.ledger.known(tenant, (each.source for each in broken))
        # What a run died in has chunks of two versions: it is no good version.
        self.store.remove(tenant, [source for source, each in known.items() if not each.fingerprint])
        failures = [Failure(source=each.source, kind=each.kind, reason=each.reason) for each in broken]
        self.details.add({"what": "failed", **failure} for failure in failures)
        return failures


def _row(document: Prepared, what: str) -> Row:
    return row(what, document.source, document.permissions, chunks=len(document.chunks))
