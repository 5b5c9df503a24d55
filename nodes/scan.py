"""Finds out what an ingestion has to do."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from langgraph.runtime import Runtime

from markgraph.batches import batches
from markgraph.ingestion.compare import Compared, Comparison
from markgraph.ingestion.ledger import PAGE
from markgraph.ingestion.plan import Plan
from markgraph.ingestion.report import Details, Row, row
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import Effect, does
from markgraph.security.policy import Need, writing
from markgraph.state import FAILURES, Failure, IngestState


@does(Effect.READS_PRIVATE, Effect.INGESTS_UNTRUSTED, Effect.STORES)
@dataclass(frozen=True)
class Scan:
    """Compares the corpus with what was ingested before, and plans the run."""

    comparison: Comparison
    details: Details

    def needs(self, state: IngestState) -> list[Need]:  # noqa: ARG002
        """Return the permission to change documents."""
        return [writing(self.comparison.corpus.name)]

    def __call__(self, state: IngestState, runtime: Runtime[Caller]) -> dict[str, Any]:
        """Return how many documents are to be read; the plan says which.

        Raises:
            EmptyCorpusError: nothing is there, and nothing was.
        """
        tenant = caller_of(runtime).tenant
        plan = Plan(self.comparison.ledger, state["run"])
        counts: Counter[str] = Counter()
        failures: list[Failure] = []
        left = state.get("limit")
        with plan.given_up_on_error():
            for page in batches(self.comparison.documents(plan, tenant), PAGE):
                counts.update(each.what for each in page)
                reads = to_be_read(page, left)
                left = None if left is None else left - len(reads)
                plan.will_read(reads)
                counts["pending"] += len(reads)
                failures += map(failure_of, (each for each in page if each.what == "repeated"))
                self.details.add(rows_of(page))
                del failures[FAILURES:]
                runtime.stream_writer({"listed": len(page)})
            for gone in plan.missing(tenant, self.comparison.corpus.name):
                plan.will_remove(gone)
            skipped = counts["kept"] + self._skip()
        return {
            "pending": counts["pending"],
            "place": 0,
            "unchanged": counts["unchanged"],
            "failed": counts["repeated"],
            "failures": failures,
            "skipped": skipped,
        }

    def _skip(self) -> int:
        """Note the files that are no documents, and return how many there are."""
        skipped = 0
        for page in batches(self.comparison.corpus.skipped(), PAGE):
            self.details.add(map(row_of_skipped, page))
            skipped += len(page)
        return skipped


def to_be_read(page: Iterable[Compared], most: int | None) -> dict[str, str]:
    """Return the fingerprints of those that are new or changed, by source; None is no limit."""
    read = (each for each in page if each.what in ("added", "changed"))
    return {each.item.source: each.fingerprint for each in islice(read, most)}


def failure_of(repeated: Compared) -> Failure:
    """Return why a document is not read."""
    source = repeated.item.source
    reason = f"Another document of this corpus is called {source!r}, too. Give each a name of its own."
    return Failure(source=source, kind="repeated", reason=reason)


def rows_of(page: Iterable[Compared]) -> Iterator[Row]:
    """Yield the details of documents that are passed over."""
    for each in page:
        if each.what == "repeated":
            yield {"what": "failed", **failure_of(each)}
        if each.what == "kept":
            yield row("skipped", each.item.source, reason="ingested by itself, for other readers")


def row_of_skipped(source: str) -> Row:
    """Return the details of a file that is no document."""
    return row("skipped", source, reason="a link, or of a kind that is not read")
