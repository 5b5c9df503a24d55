"""Keeps chunks, their words, and who may read them in an SQLite file: what each search by words stands on."""

import json
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from shutil import rmtree

from markgraph.retrieval.bodies import Bodies, permitted_by, readable, refuse_clear, refuse_sealed
from markgraph.retrieval.chunk_rows import (
    LAYOUT,
    ROWS,
    SCHEMA,
    Row,
    is_outdated,
    permission_number,
    permissions_of,
    put,
    transaction,
)
from markgraph.retrieval.storage import open_database, storage_errors
from markgraph.retrieval.types import Chunk, Vectors
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions, may_read
from markgraph.security.sealing.keyring import Keyring
from markgraph.text import words

_AMONG = "id IN (SELECT value FROM json_each(?))"
_ENDS = "SELECT typeof(body) FROM chunks WHERE position IN (SELECT min(position) FROM chunks"
_ENDS += " UNION SELECT max(position) FROM chunks)"
_PAGE = 500


@dataclass
class ChunkStore:
    """The part of the `Index` port that has nothing to do with ranking; subclasses add `search`.

    Several processes may read and write one file.
    """

    path: Path
    name: str = "words"
    """What results call it."""
    seal: Keyring | None = None
    """Seals the chunks, and leaves of their words what counts them; None keeps both in clear."""
    _is_checked: bool = field(default=False, init=False, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path).expanduser()

    @property
    def stores(self) -> tuple[str, ...]:
        """Return the one file that is written to, whatever ranks what is in it."""
        return (f"words:{self.path.absolute()}",)

    @property
    def embedder(self) -> None:
        """Return None: there are no vectors."""

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:  # noqa: ARG002
        """Store `chunks`; one that is there already is replaced, with its permissions."""
        rows = self._rows_of(chunks)
        with self._writing() as database:
            put(database, rows)
        self._written({chunk.tenant for chunk in chunks})

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids; unknown ids are ignored."""
        if not ids or not self.path.exists():
            return
        delete = f"DELETE FROM chunks WHERE {_AMONG} RETURNING tenant"  # noqa: S608
        with self._writing() as database:
            tenants = {tenant for (tenant,) in database.execute(delete, (json.dumps(list(ids)),))}
        self._written(tenants)

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids, from the next search on; unknown ids are ignored."""
        if not ids or not self.path.exists():
            return
        among = json.dumps(list(ids))
        foreign = f"SELECT id, tenant FROM chunks WHERE {_AMONG} AND tenant <> ? LIMIT 1"  # noqa: S608
        update = f"UPDATE chunks SET permission = ? WHERE {_AMONG}"  # noqa: S608
        with self._writing() as database:
            for id_, tenant in database.execute(foreign, (among, permissions.tenant)):
                raise ValueError(f"Chunk {id_} belongs to tenant {tenant!r}, not {permissions.tenant!r}.")
            database.execute(update, (permission_number(database, permissions), among))
        self._written({permissions.tenant})

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`."""
        readers_of(caller)  # nobody is refused, found or not
        if not self.path.exists():
            return []
        with self._reading() as database:
            rows = database.execute(f"{ROWS} WHERE {_AMONG}", (json.dumps(list(ids)),)).fetchall()
        # Only what may be read is opened.
        rows = [row for row in rows if may_read(caller, permissions_of(row))]
        found = {row[1]: self._chunk(row) for row in rows}
        return [found[id_] for id_ in ids if id_ in found]

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them."""
        if not self.path.exists():
            return []
        while True:
            with self._reading() as database:
                query = f"{ROWS} WHERE id > ? ORDER BY id LIMIT ?"
                rows = database.execute(query, (after, limit)).fetchall()
            if not rows or (chunks := readable(rows, self._chunk)):
                return chunks if rows else []
            after = rows[-1][1]

    def reseal(self, progress: Callable[[int], object] = bool) -> int:
        """Seal what isn't, or is under an old key, and return how many chunks that were; can be repeated."""
        if self.seal is None or not self.path.exists():
            return 0
        self._is_checked = True
        with self._reading() as database:
            after, last = 0, database.execute("SELECT max(position) FROM chunks").fetchone()[0] or 0
        sealed, tenants = 0, set[str]()
        while after < last:
            with self._writing() as database:
                query = f"{ROWS} WHERE position > ? AND position <= ? ORDER BY position LIMIT {_PAGE}"
                rows: list[Row] = database.execute(query, (after, last)).fetchall()
                old = [row for row in rows if is_outdated(self.seal, row[2], row[3])]
                put(database, self._rows_of([self._chunk(row, lenient=True) for row in old]))
            tenants |= {row[2] for row in old}
            after = rows[-1][0] if rows else last
            sealed += len(old)
            progress(len(rows))
        self._scrub()
        self._written(tenants)
        return sealed

    def _scrub(self) -> None:
        """Overwrite what was deleted from the files."""
        rmtree(self.path.with_suffix(".bm25s"), ignore_errors=True)  # made anew of hashed words
        with storage_errors(self.path), self._lock:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                self._database.execute(statement).fetchall()

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
        if not self.path.exists():
            return 0
        with self._reading() as database:
            return int(database.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def _rows_of(self, chunks: Sequence[Chunk]) -> list[tuple[Chunk, str | bytes, str]]:
        """Return each chunk with what is kept of it, and of its words."""
        if self.seal is None:
            return [(chunk, chunk.to_json(), " ".join(_indexed_words(chunk))) for chunk in chunks]
        bodies = Bodies(self.seal)
        hashed = {tenant: bodies.hashed(tenant) for tenant in {chunk.tenant for chunk in chunks}}
        return [
            (chunk, bodies.of(chunk), " ".join(hashed[chunk.tenant](_indexed_words(chunk))))
            for chunk in chunks
        ]

    def _terms(self, query: str, tenant: str) -> list[str]:
        """Return the words of a question as they are kept."""
        terms = words(query)
        return terms if self.seal is None else Bodies(self.seal).hashed(tenant)(terms)

    def _chunk(self, row: Row, *, lenient: bool = False) -> Chunk:
        """Return the chunk in a row; `lenient` takes one in clear, too."""
        _, id_, _, body, *_ = row
        if self.seal is not None and not (lenient and isinstance(body, str)):
            return Bodies(self.seal).chunk(id_, body, permissions_of(row))
        return permitted_by(permissions_of(row), Chunk.from_json(str(body)))

    def _stored_at(self, database: sqlite3.Connection, positions: Sequence[int]) -> list[tuple[int, Chunk]]:
        """Return the chunks at `positions`, in that order, and where they are."""
        query = f"{ROWS} WHERE position IN (SELECT value FROM json_each(?))"  # noqa: S608
        found = {row[0]: self._chunk(row) for row in database.execute(query, (json.dumps(positions),))}
        return [(position, found[position]) for position in positions if position in found]

    def _check(self, database: sqlite3.Connection) -> None:
        """Refuse a file that is sealed where there is no keyring, or the other way round."""
        if self._is_checked:
            return
        kinds = {kind for (kind,) in database.execute(_ENDS)}
        if self.seal is None and "blob" in kinds:
            refuse_sealed(self.path)
        if self.seal is not None and "text" in kinds:
            refuse_clear(self.path)
        self._is_checked = self.seal is not None or bool(kinds)

    def _written(self, tenants: Collection[str]) -> None:
        """Take note of a write of this process to chunks of `tenants`, after it."""

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Give one consistent view of the file."""
        with storage_errors(self.path), self._lock, transaction(self._database, "DEFERRED") as database:
            self._check(database)
            yield database

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Make all of some writes take place, or none."""
        with storage_errors(self.path), self._lock, transaction(self._database, "IMMEDIATE") as database:
            self._check(database)
            yield database

    @cached_property
    def _database(self) -> sqlite3.Connection:
        return open_database(self.path, LAYOUT, SCHEMA)


def _indexed_words(chunk: Chunk) -> list[str]:
    return words(" ".join((chunk.title, *chunk.heading, chunk.text)))
