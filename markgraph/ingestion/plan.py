"""What one run has to do, on disk: a corpus may have more documents than fit into memory."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from markgraph.ingestion.ledger import PAGE, WITHIN, Ledger

TABLES = ("listed", "pending", "gone")
_SCHEMA = (
    "CREATE TEMP TABLE IF NOT EXISTS listed (run TEXT, source TEXT, PRIMARY KEY (run, source)) WITHOUT ROWID",
    "CREATE TEMP TABLE IF NOT EXISTS pending (run TEXT, source TEXT, fingerprint TEXT,"
    " PRIMARY KEY (run, source)) WITHOUT ROWID",
    "CREATE TEMP TABLE IF NOT EXISTS gone (run TEXT, source TEXT, PRIMARY KEY (run, source)) WITHOUT ROWID",
)

_MISSING = f"""
    SELECT source FROM documents WHERE tenant = :tenant AND source > :after AND {WITHIN}
        AND NOT EXISTS (SELECT 1 FROM listed WHERE run = :run AND listed.source = documents.source)
    ORDER BY source LIMIT :page
"""  # noqa: S608


@dataclass(frozen=True)
class Plan:
    """Which documents a run has listed, which it has still to read, and which have left.

    The tables are temporary ones of the ledger's connection: a run that another process takes up finds them
    empty, and so reads nothing and removes nothing.
    """

    ledger: Ledger
    run: str

    def open(self) -> None:
        """Begin a run."""
        with self.ledger.transaction() as database:
            for table in _SCHEMA:
                database.execute(table)

    def note(self, sources: Sequence[str]) -> set[str]:
        """Note that documents are in the corpus; return those that were already noted."""
        with self.ledger.transaction() as database:
            query = "SELECT source FROM listed WHERE run = ? AND source IN (SELECT value FROM json_each(?))"
            before = {row[0] for row in database.execute(query, (self.run, json.dumps(list(sources))))}
            rows = [(self.run, source) for source in sources]
            database.executemany("INSERT OR IGNORE INTO listed VALUES (?, ?)", rows)
        return before

    def will_read(self, fingerprints: Mapping[str, str]) -> None:
        """Note documents that are to be read, each with what its fingerprint will be."""
        rows = [(self.run, *row) for row in fingerprints.items()]
        with self.ledger.transaction() as database:
            database.executemany("INSERT INTO pending VALUES (?, ?, ?)", rows)

    def take(self, sources: Sequence[str]) -> dict[str, str]:
        """Return those of `sources` that are still to be read, each with its fingerprint, and only once."""
        these = (self.run, json.dumps(list(sources)))
        query = """DELETE FROM pending WHERE run = ? AND source IN (SELECT value FROM json_each(?))
            RETURNING source, fingerprint"""
        with self.ledger.transaction() as database:
            found = database.execute(query, these).fetchall()
        return dict(found)

    def missing(self, tenant: str, scope: str) -> Iterator[list[str]]:
        """Yield, page by page, the documents of a corpus that the ledger knows and that were not listed."""
        asked = {"run": self.run, "tenant": tenant, "scope": scope, "after": "", "page": PAGE}
        while True:
            with self.ledger.transaction() as database:
                sources = [row[0] for row in database.execute(_MISSING, asked)]
            if not sources:
                return
            yield sources
            asked["after"] = sources[-1]

    def will_remove(self, sources: Sequence[str]) -> None:
        """Note documents that are to leave the index."""
        with self.ledger.transaction() as database:
            database.executemany("INSERT INTO gone VALUES (?, ?)", [(self.run, source) for source in sources])

    def gone(self) -> Iterator[list[str]]:
        """Yield, page by page, the documents that are to leave the index."""
        query = "SELECT source FROM gone WHERE run = ? AND source > ? ORDER BY source LIMIT ?"
        sources = [""]
        while sources:
            with self.ledger.transaction() as database:
                sources = [row[0] for row in database.execute(query, (self.run, sources[-1], PAGE))]
            if sources:
                yield sources

    @contextmanager
    def given_up_on_error(self) -> Iterator[Self]:
        """Forget the run when what is done within fails."""
        self.open()
        try:
            yield self
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget the run."""
        with self.ledger.transaction() as database:
            for table in TABLES:
                database.execute(f"DELETE FROM {table} WHERE run = ?", (self.run,))  # noqa: S608
