"""Finds chunks by their words in large collections, with matrices of bm25s beside an SQLite file."""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING
from uuid import uuid4

from filelock import FileLock, Timeout

from markgraph.errors import StorageError
from markgraph.retrieval.chunk_store import ChunkStore
from markgraph.retrieval.storage import storage_errors
from markgraph.retrieval.types import Hit
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import may_read

if TYPE_CHECKING:
    from markgraph.retrieval.ranking import Ranking

ATTEMPTS = 5
"""How often a search looks for a base that another process replaces under it."""


@dataclass
class Bm25sIndex(ChunkStore):
    """BM25 as Lucene has it (Kamphuis et al. 2020), with the statistics of what the caller may read only.

    The SQLite file is the truth, and the same that `WordsIndex` reads. Beside it, each tenant has a base:
    a matrix of word frequencies in a folder that never changes, mapped into memory. What was written since
    is kept in memory by each process, which looks for it before each search. When that is more than `share`
    of the base, both are merged into a new base, which is then named in the file: a kill at any moment
    loses nothing but the work on it.
    """

    share: float = 0.1
    """What part of the base may change before there is a new one."""
    tail: int = 1000
    """How many changes don't make a new one, however small it is."""
    _rankings: "dict[str, Ranking]" = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """Return where the matrices are."""
        return self.path.with_suffix(".bm25s")

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read and that share a word with `query`."""
        readers_of(caller)  # nobody is refused, found or not
        if k < 1 or not self.path.exists():
            return []
        stems = self._terms(query, caller.tenant)
        for _ in range(ATTEMPTS):
            try:
                return self._search(stems, caller, k)
            except _LostBaseError as lost:
                self._restore(caller.tenant, lost.base)
        raise StorageError(f"The matrices in {self.folder} vanish as soon as they are made.")

    def compact(self, tenant: str) -> None:
        """Make a new base of all chunks of `tenant`; searches of other processes go on meanwhile."""
        folder = self._folder_of(tenant)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(folder / "lock", timeout=0):
                    self._compact(tenant, folder)
            except Timeout:
                return  # another process is at it
            except _LostBaseError as lost:
                self._restore(tenant, lost.base)  # the next write tries again

    def _written(self, tenants: Collection[str]) -> None:
        for tenant in sorted(tenants):
            with self._reading() as database:
                query = "SELECT count(*) FROM changes WHERE tenant = ?"
                changed = database.execute(query, (tenant,)).fetchone()[0]
                size = _base(database, tenant)[2]
            if self._is_due(changed, size):
                self.compact(tenant)

    def _is_due(self, changed: int, size: int) -> bool:
        return changed > max(self.tail, self.share * size)

    def _search(self, stems: list[str], caller: Caller, k: int) -> list[Hit]:
        with self._reading() as database:
            ranking = self._ranking(database, caller.tenant)
            scores = dict(ranking.best(stems, caller, k))
            hits = [
                Hit(chunk, scores[position]) for position, chunk in self._stored_at(database, list(scores))
            ]
            due = self._is_due(ranking.changed, _base(database, caller.tenant)[2])
        if due:  # a writer was killed, or keeps no base, before it got here
            self.compact(caller.tenant)
        return [hit for hit in hits if may_read(caller, hit.chunk.permissions)]

    def _ranking(self, database: sqlite3.Connection, tenant: str) -> "Ranking":
        """Return what ranks the chunks of `tenant`, up to what the file says now."""
        from markgraph.retrieval.ranking import Ranking

        base, change, _ = _base(database, tenant)
        ranking = self._rankings.pop(tenant, None)  # put back only when it is complete
        if ranking is None or ranking.base != base:
            try:
                ranking = Ranking.open(tenant, self._folder_of(tenant), base, change)
            except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
                raise _LostBaseError(base) from error
        ranking.catch_up(database)
        self._rankings[tenant] = ranking
        return ranking

    def _compact(self, tenant: str, folder: Path) -> None:
        from markgraph.retrieval.frequencies import merge

        with self._reading() as database:
            ranking = self._ranking(database, tenant)
            change, segments = ranking.change, [segment.copy() for segment in ranking.segments]
        merged = merge(segments) if segments else None
        base = uuid4().hex if merged else ""
        if merged:
            merged.save(folder / base)
        with self._writing() as database:
            row = (tenant, base, change, len(merged) if merged else 0)
            insert = "INSERT OR REPLACE INTO bases (tenant, folder, change, size) VALUES (?, ?, ?, ?)"
            database.execute(insert, row)
            database.execute("DELETE FROM changes WHERE tenant = ? AND change <= ?", (tenant, change))
        for other in folder.iterdir():
            if other.name not in (base, "lock"):
                rmtree(other, ignore_errors=True)

    def _restore(self, tenant: str, lost: str) -> None:
        """Count everything as written anew, if the base that was not found is still the one to use."""
        with self._writing() as database:
            if _base(database, tenant)[0] == lost:
                database.execute("DELETE FROM bases WHERE tenant = ?", (tenant,))
                database.execute(
                    """INSERT OR REPLACE INTO changes (tenant, position)
                    SELECT tenant, position FROM chunks WHERE tenant = ? ORDER BY position""",
                    (tenant,),
                )

    def _folder_of(self, tenant: str) -> Path:
        return self.folder / sha256(tenant.encode()).hexdigest()[:32]


class _LostBaseError(Exception):
    """A base is not there any more, or damaged."""

    def __init__(self, base: str) -> None:
        super().__init__(base)
        self.base = base


def _base(database: sqlite3.Connection, tenant: str) -> tuple[str, int, int]:
    """Return the folder of a tenant's base, the last change worked into it, and how many chunks it has."""
    query = "SELECT folder, change, size FROM bases WHERE tenant = ?"
    row = database.execute(query, (tenant,)).fetchone()
    return (row[0], row[1], row[2]) if row else ("", 0, 0)
