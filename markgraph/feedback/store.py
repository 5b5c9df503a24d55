"""Keeps what people say of answers in an SQLite file: rows are added, never changed."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from markgraph.errors import SealError, ShreddedError
from markgraph.feedback.types import Feedback
from markgraph.retrieval.storage import open_database, storage_errors
from markgraph.security.sealing.keyring import Keyring, number_of

PAGE = 500
"""How many rows are read at a time."""
_LAYOUT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS feedback (
    number INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, run TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_tenant ON feedback (tenant, number);
CREATE INDEX IF NOT EXISTS by_run ON feedback (tenant, run, number);
"""
_ROWS = """
    SELECT number, run, body FROM feedback AS one WHERE tenant = :tenant AND number > :after
    AND NOT EXISTS (SELECT 1 FROM feedback WHERE tenant = one.tenant AND run = one.run
        AND number > one.number)
    ORDER BY number LIMIT :page
"""


def none() -> None:
    """Keep no feedback."""


@dataclass
class FeedbackStore:
    """Holds the words of all tenants; whoever reads names one.

    What stays in clear where there is a keyring: tenants, the ids of runs, and the order of the rows.
    """

    path: Path
    seal: Keyring | None = None
    """Seals each row for its tenant, run and number; None keeps them in clear."""
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()

    def add(self, said: Feedback) -> None:
        """Keep what somebody said, behind what was said before; it outlives a power failure.

        Raises:
            StorageError: it can't be kept.
        """
        tenant, run = said["tenant"], said["run_id"]
        if self.seal is not None:
            self.seal.check(tenant)
        with storage_errors(self.path), self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                query = "INSERT INTO feedback (tenant, run, body) VALUES (?, ?, '') RETURNING number"
                ((number,),) = self._database.execute(query, (tenant, run)).fetchall()
                body = self._kept(tenant, run, number, said)
                self._database.execute("UPDATE feedback SET body = ? WHERE number = ?", (body, number))
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def latest(self, tenant: str) -> Iterator[Feedback]:
        """Yield what was said last of each run of a tenant, oldest first.

        Raises:
            SealError: a row is sealed where there is no keyring, or the other way round.
        """
        asked = {"tenant": tenant, "after": 0, "page": PAGE}
        if not self.path.exists():
            return
        while True:
            with storage_errors(self.path), self._lock:
                rows = self._database.execute(_ROWS, asked).fetchall()
            for number, run, body in rows:
                yield self._said(tenant, run, number, body)
            if len(rows) < PAGE:
                return
            asked["after"] = rows[-1][0]

    def reseal(self, progress: Callable[[int], object] = bool) -> int:
        """Seal rows that lie in clear or under an old key, and return how many; can be repeated."""
        if self.seal is None or not self.path.exists():
            return 0
        query, sealed = "SELECT number, tenant, run, body FROM feedback", 0
        with storage_errors(self.path), self._lock:
            for number, tenant, run, body in self._database.execute(query).fetchall():
                sealed += self._resealed(self.seal, number, tenant, run, body)
                progress(1)
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                self._database.execute(statement).fetchall()
        return sealed

    def _resealed(self, seal: Keyring, number: int, tenant: str, run: str, body: bytes) -> bool:
        """Tell whether a row was sealed anew; nobody can read, or write, what was shredded."""
        about = _about(run, number)
        try:
            if seal.is_current(tenant, body):
                return False
            plain = body if number_of(body) is None else seal.open(tenant, about, body)
            new = seal.seal(tenant, about, plain)
        except ShreddedError:
            return False
        self._database.execute(
            "UPDATE feedback SET body = ? WHERE number = ? AND body = ?", (new, number, body)
        )
        return True

    def _kept(self, tenant: str, run: str, number: int, said: Feedback) -> bytes:
        plain = json.dumps(said).encode()
        return plain if self.seal is None else self.seal.seal(tenant, _about(run, number), plain)

    def _said(self, tenant: str, run: str, number: int, body: bytes) -> Feedback:
        is_sealed = number_of(body) is not None
        if self.seal is None and is_sealed:
            raise SealError(
                f"The feedback in {self.path} is sealed, and there is no keyring: seal=none. Set "
                "seal=keyring, for all commands alike."
            )
        plain = body if self.seal is None else self.seal.open(tenant, _about(run, number), body)
        said: Feedback = json.loads(plain)
        return said

    @cached_property
    def _database(self) -> sqlite3.Connection:
        database = open_database(self.path, _LAYOUT, _SCHEMA)
        for pragma in ("secure_delete = ON", "synchronous = FULL"):
            database.execute(f"PRAGMA {pragma}")
        return database


def _about(run: str, number: int) -> tuple[str, ...]:
    return ("feedback", run, str(number))
