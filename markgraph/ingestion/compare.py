"""Compares a corpus with what was ingested before."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from markgraph.batches import batches
from markgraph.errors import EmptyCorpusError
from markgraph.ingestion.corpora import Corpus, Item
from markgraph.ingestion.hashes import fingerprints
from markgraph.ingestion.ledger import PAGE, Known, Ledger
from markgraph.ingestion.plan import Plan
from markgraph.ingestion.rules import Rules, path_within, takes_away
from markgraph.security.permissions import Permissions


@dataclass(frozen=True)
class Compared:
    """One document of a corpus, and what is to be done about it."""

    item: Item
    what: Literal["added", "changed", "unchanged", "kept", "repeated"]
    """`kept`: it was ingested by itself, for other readers. `repeated`: there was one of its name before."""
    fingerprint: str
    """What it will have been ingested under once it is."""
    known: Known | None


@dataclass(frozen=True)
class Comparison:
    """Tells what is new or changed, in one pass over the corpus and without reading a document."""

    corpus: Corpus
    ledger: Ledger
    rules: Rules
    settings: str
    """Whatever else decides what is stored: a document is read again when it changes."""

    def permissions(self, known: Known, tenant: str) -> Permissions:
        """Return who may read a document from now on, without reading it.

        Raises:
            UsageError: it would be opened by rules that nobody stated.
        """
        if not self.is_kept(known, tenant):
            new = self._ruled(known, tenant)
            if known.permissions is not None:
                self.rules.check_opens(known.source, known.permissions, new)
            return new
        # A run died in it, and for whom it was to be is not known: nobody, until that is run again.
        return known.permissions or Permissions(tenant)

    def is_kept(self, known: Known, tenant: str) -> bool:
        """Tell whether a part of this corpus was ingested by itself, and the rules would open it to others.

        It stays theirs; what only takes something away reaches it.
        """
        if not known.scope.startswith(f"{self.corpus.name.rstrip('/')}/"):
            return False
        return known.permissions is None or takes_away(self._ruled(known, tenant), known.permissions)

    def _ruled(self, known: Known, tenant: str) -> Permissions:
        """Return who may read a document by today's rules."""
        return self.rules.permissions(path_within(self.corpus.name, known.source), known.metadata, tenant)

    def documents(self, plan: Plan, tenant: str) -> Iterator[Compared]:
        """Yield the documents of the corpus in its order.

        Raises:
            EmptyCorpusError: nothing is there, and nothing was.
        """
        plan.open()
        for page in batches(self._items(tenant), PAGE):
            yield from self._compared(page, plan, tenant)

    def _items(self, tenant: str) -> Iterator[Item]:
        try:
            yield from self.corpus.items()
        except EmptyCorpusError:
            if not self.ledger.is_known(tenant, self.corpus.name):
                raise

    def _compared(self, page: list[Item], plan: Plan, tenant: str) -> Iterator[Compared]:
        sources = [item.source for item in page]
        repeated = plan.note(sources)
        known = self.ledger.known(tenant, sources)
        hashes = fingerprints(self.ledger, page)
        for item in page:
            fingerprint = self._fingerprint(hashes[item.source], item.settings)
            if item.source in repeated:
                yield Compared(item, "repeated", fingerprint, None)
                continue
            repeated.add(item.source)
            before = known.get(item.source)
            yield Compared(item, self._what(before, fingerprint, tenant), fingerprint, before)

    def _what(
        self, known: Known | None, fingerprint: str, tenant: str
    ) -> Literal["added", "changed", "unchanged", "kept"]:
        if known is not None and self.is_kept(known, tenant):
            return "kept"
        if known is None or known.fingerprint is None:
            return "added"
        return "unchanged" if fingerprint and known.fingerprint == fingerprint else "changed"

    def _fingerprint(self, content: str, settings: str) -> str:
        """Return what a document is ingested under; empty where its file can't be read."""
        return content and sha256("\0".join((content, settings, self.settings)).encode()).hexdigest()
