"""Says what an ingestion would do, and who would then read what."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from langgraph.runtime import Runtime

from markgraph.batches import batches
from markgraph.errors import DocumentError
from markgraph.ingestion.compare import Compared, Comparison
from markgraph.ingestion.ledger import PAGE
from markgraph.ingestion.plan import Plan
from markgraph.ingestion.prepare import kind_of
from markgraph.ingestion.report import Details, Row, row
from markgraph.ingestion.rules import path_within
from markgraph.nodes.scan import row_of_skipped, rows_of
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, writing
from markgraph.state import FAILURES, Failure, Owned


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED)
@dataclass(frozen=True)
class Preview:
    """Looks at every document and changes nothing. Documents are read only where rules ask what they say."""

    comparison: Comparison
    index: Index
    details: Details

    def needs(self, state: Owned) -> list[Need]:  # noqa: ARG002
        """Return the permission to change documents."""
        return [writing(self.comparison.corpus.name)]

    def __call__(self, state: Owned, runtime: Runtime[Caller]) -> dict[str, Any]:  # noqa: ARG002
        """Return the report that an ingestion would give, chunks aside; the details have every document."""
        tenant = caller_of(runtime).tenant
        self.comparison.ledger.check(self.index.stores)
        self.details.begin()
        counts: Counter[str] = Counter()
        failures: list[Failure] = []
        for page in batches(self._rows(tenant), PAGE):
            self.details.add(page)
            counts.update(each["what"] for each in page)
            counts["unchanged"] += sum(each["what"] == "permitted" for each in page)
            counts["unreadable"] += sum(each.get("readers") == [] for each in page)
            failures += [
                Failure(source=each["source"], kind=each["kind"], reason=each["reason"])
                for each in page
                if each["what"] == "failed"
            ][:FAILURES]
            del failures[FAILURES:]
            runtime.stream_writer({"listed": len(page)})
        return {**counts, "failures": failures}

    def _rows(self, tenant: str) -> Iterator[Row]:
        plan = Plan(self.comparison.ledger, uuid4().hex)
        plan.open()
        try:
            for each in self.comparison.documents(plan, tenant):
                if each.what in ("kept", "repeated"):
                    yield from rows_of([each])
                else:
                    yield self._row(each, tenant)
            for gone in plan.missing(tenant, self.comparison.corpus.name):
                yield from (row("removed", source) for source in gone)
            yield from map(row_of_skipped, self.comparison.corpus.skipped())
        finally:
            plan.close()

    def _row(self, each: Compared, tenant: str) -> Row:
        """Return what would become of a document, and who would read it."""
        metadata = each.known.metadata if each.known else {}
        if each.what != "unchanged" and self.comparison.rules.ask_metadata:
            try:
                metadata = each.item.load().metadata
            except DocumentError as error:
                failure = Failure(source=each.item.source, kind=kind_of(error), reason=str(error))
                return {"what": "failed", **failure}
        path = path_within(self.comparison.corpus.name, each.item.source)
        permissions = self.comparison.rules.permissions(path, metadata, tenant)
        if each.known and each.known.permissions:
            self.comparison.rules.check_opens(each.item.source, each.known.permissions, permissions)
        is_same = each.known is not None and each.known.permissions == permissions
        what = "permitted" if each.what == "unchanged" and not is_same else each.what
        return row(what, each.item.source, permissions)
