"""Finds chunks by meaning, in Postgres with pgvector 0.8 or later."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from markgraph.batches import batches
from markgraph.retrieval import pgvector_sql as sql
from markgraph.retrieval.bodies import (
    Bodies,
    from_text,
    permitted_by,
    readable,
    refuse_clear,
    refuse_sealed,
    to_text,
)
from markgraph.retrieval.chunk_rows import is_outdated
from markgraph.retrieval.dense import (
    BATCH,
    Embedder,
    check_built_with,
    check_embedder,
    embed,
    embed_query,
)
from markgraph.retrieval.generations import Generation
from markgraph.retrieval.postgres import Postgres
from markgraph.retrieval.types import Chunk, Hit, Vectors
from markgraph.security.caller import Caller, readers_of
from markgraph.security.permissions import Permissions, may_read
from markgraph.security.sealing.keyring import Keyring

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

EF_SEARCH = 1000
"""The most that pgvector takes."""


@dataclass
class PgVectorIndex:
    """A table in a schema of its own for each collection; permissions are part of the query.

    Postgres scans its graph of vectors until `k` are permitted. Where it stops before, the permitted chunks
    are compared one by one, so none is missed. Connects at the first use; every hit is checked again.
    """

    embedder: Embedder
    collection: str = "documents"
    conninfo: str = field(default="", repr=False)
    """What libpq takes: a URL, or `host=... dbname=...`; what it lacks comes from PGHOST, PGPASSFILE, ..."""
    name: str = "dense"
    """What results call it."""
    generation: str = ""
    """Which of the collection's vectors, where it has several; see `markgraph.retrieval.generations`."""
    connections: int = 4
    """At most so many at a time from this process."""
    seal: Keyring | None = None
    """Seals everything but ids, permissions and vectors; None keeps it in clear."""
    _postgres: Postgres = field(init=False, repr=False, compare=False)
    _tables: sql.Tables = field(init=False, repr=False, compare=False)
    _checked: bool = field(default=False, init=False, repr=False, compare=False)
    _is_resealing: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_embedder(self.embedder)
        self._postgres = Postgres(self.conninfo, self.connections)
        self._tables = sql.Tables(self.collection, self.generation)

    @property
    def stores(self) -> tuple[str, ...]:
        """Return the one schema that is written to."""
        return (f"pgvector:{self._postgres.place} {self.collection}",)

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:
        """Store `chunks`; one that is there already is replaced, with its permissions."""
        with self._reading():
            pass  # refuses another embedder's vectors before any are made
        for batch in batches({chunk.id: chunk for chunk in chunks}.values(), BATCH):
            embedded = embed(batch, self.embedder, vectors)
            rows = [self._row(chunk, vector.tolist()) for chunk, vector in zip(batch, embedded, strict=True)]
            with self._writing(embedded.shape[1]) as connection, connection.cursor() as cursor:
                cursor.executemany(self._sql(sql.UPSERT), rows)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids; unknown ids are ignored."""
        with self._reading() as connection:
            if connection and ids:
                connection.execute(self._sql(sql.DELETE), {"ids": list(ids)})

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids, from the next search on; unknown ids are ignored."""
        values = asdict(permissions) | {"ids": list(ids), "readers": list(permissions.readers)}
        with self._reading() as connection:
            if connection is None:
                return
            foreign = connection.execute(self._sql(sql.OF_OTHER_TENANTS), values).fetchone()
            if foreign:
                id_, tenant = foreign
                raise ValueError(f"Chunk {id_} belongs to tenant {tenant!r}, not {permissions.tenant!r}.")
            connection.execute(self._sql(sql.PERMIT), values)

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`."""
        rows = self._rows(sql.GET, _held(caller) | {"ids": list(ids)})
        found = {row[0]: self._chunk(*row[:5]) for row in rows}
        chunks = [found[id_] for id_ in ids if id_ in found]
        return [chunk for chunk in chunks if may_read(caller, chunk.permissions)]

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them."""
        while rows := self._rows(sql.SCAN, {"after": after, "limit": limit}):
            if chunks := readable(rows, lambda row: self._chunk(*row[:5])):
                return chunks
            after = rows[-1][0]
        return []

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read, nearest first; the score is the cosine."""
        held = _held(caller)
        with self._reading() as connection:
            if connection is None:
                return []
        vector = embed_query(query, self.embedder).tolist()
        values: dict[str, Any] = held | {"vector": json.dumps(vector), "k": k}
        with self._reading() as connection:
            if connection is None:
                return []
            connection.execute(sql.ITERATE, {"ef": str(min(max(k, 100), EF_SEARCH))})
            rows = connection.execute(self._sql(sql.SEARCH), values).fetchall()
            if len(rows) < k:
                connection.execute(sql.EXACT)
                rows = connection.execute(self._sql(sql.SEARCH), values).fetchall()
        hits = [Hit(self._chunk(*row[:5]), row[5]) for row in rows]
        return [hit for hit in hits if may_read(caller, hit.chunk.permissions)]

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
        rows = self._rows(sql.COUNT, {})
        return int(rows[0][0]) if rows else 0

    def reseal(self, progress: Callable[[int], object] = bool) -> int:
        """Seal what isn't, or is under an old key, and return how many chunks that were; can be repeated."""
        self._is_resealing = True
        sealed, after = 0, ""
        while self.seal and (rows := self._rows(sql.SCAN, {"after": after, "limit": BATCH})):
            old = [row for row in rows if is_outdated(self.seal, row[2], from_text(row[1]))]
            chunks = [self._chunk(*row[:5], lenient=True) for row in old]
            bodies = [to_text(Bodies(self.seal).of(chunk)) for chunk in chunks]
            values = [
                {"id": row[0], "old": row[1], "body": body} for row, body in zip(old, bodies, strict=True)
            ]
            with self._postgres.connection() as connection, connection.cursor() as cursor:
                cursor.executemany(self._sql(sql.RESEAL), values)
            after = rows[-1][0]
            sealed += len(old)
            progress(len(rows))
        self._is_resealing = False
        if self.seal and after:
            self._postgres.vacuum(self._sql(sql.VACUUM))
        return sealed

    def at(self, generation: str, embedder: Embedder) -> "PgVectorIndex":
        """Return an index over another generation in the same schema."""
        return replace(self, generation=generation, embedder=embedder)

    def current(self) -> Generation | None:
        """Return the note; None where nothing was ever switched."""
        with self._postgres.connection() as connection:
            if not self._is_there(connection, self._tables.switched_name):
                return None
            row = connection.execute(self._sql(sql.SWITCHED)).fetchone()
        return Generation.from_json(row[0], f"Postgres ({self._tables.switched_name})") if row else None

    def switch(self, to: Generation) -> None:
        """Write the note, whole or not at all."""
        with self._postgres.connection() as connection:
            connection.execute(self._sql(sql.SWITCH), {"generation": to.to_json()})

    def generations(self) -> dict[str, str]:
        """Return the generations that are there, and the names of the embedders that made them."""
        with self._postgres.connection() as connection:
            if not self._is_there(connection, self._tables.switched_name):
                return {}
            return dict(connection.execute(self._sql(sql.GENERATIONS)).fetchall())

    def drop(self, generation: str) -> None:
        """Remove a generation; one that isn't there is ignored."""
        tables = sql.Tables(self.collection, generation)
        with self._postgres.connection() as connection:
            connection.execute(tables.fill(sql.DROP))
            connection.execute(tables.fill(sql.UNREGISTER), {"generation": generation})

    def _rows(self, statement: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return connection.execute(self._sql(statement), values).fetchall() if connection else []

    @contextmanager
    def _reading(self) -> "Iterator[Connection[Any] | None]":
        """Hold a connection, in a transaction; None where nothing was ever stored."""
        with self._postgres.connection() as connection:
            if not self._is_there(connection, self._tables.chunks_name):
                yield None
                return
            self._check(connection)
            yield connection

    @contextmanager
    def _writing(self, dimensions: int) -> "Iterator[Connection[Any]]":
        """Hold a connection, in a transaction, with the table made where there was none."""
        with self._postgres.connection() as connection:
            if not self._is_there(connection, self._tables.chunks_name):
                self._tables.create(connection, self.embedder.name, dimensions)
            self._check(connection)
            yield connection

    @staticmethod
    def _is_there(connection: "Connection[Any]", table: str) -> bool:
        row = connection.execute(sql.THERE, {"table": table}).fetchone()
        return bool(row and row[0])

    def _check(self, connection: "Connection[Any]") -> None:
        if self._checked:
            return
        row = connection.execute(self._sql(sql.BUILT_WITH), {"generation": self.generation}).fetchone()
        check_built_with(self._place, row[0] if row else None, self.embedder)
        some = connection.execute(self._sql(sql.SOME)).fetchone()
        if some and not self._is_resealing:
            self._check_sealed(some[0])
        self._checked = True

    def _check_sealed(self, body: str) -> None:
        """Refuse what is sealed where there is no keyring, or the other way round."""
        is_clear = body.startswith("{")
        if self.seal is None and not is_clear:
            refuse_sealed(self._place)
        if self.seal is not None and is_clear:
            refuse_clear(self._place)

    @property
    def _place(self) -> str:
        return f"Postgres ({self._tables.chunks_name})"

    def _row(self, chunk: Chunk, vector: list[float]) -> dict[str, Any]:
        return {
            "id": chunk.id,
            "tenant": chunk.tenant,
            "classification": chunk.classification,
            "readers": list(chunk.readers),
            # In ASCII: Postgres takes neither NUL nor half a surrogate pair, and JSON escapes them.
            "body": to_text(Bodies(self.seal).of(chunk)) if self.seal else json.dumps(asdict(chunk)),
            "vector": json.dumps(vector),
        }

    def _chunk(
        self,
        id_: str,
        body: str,
        tenant: str,
        classification: int,
        readers: list[str],
        *,
        lenient: bool = False,
    ) -> Chunk:
        """Return the chunk in `body`, with the permissions of its columns; `lenient` takes one in clear."""
        permissions = Permissions(tenant, tuple(readers), classification)
        if not lenient:
            self._check_sealed(body)
        if self.seal is None or body.startswith("{"):
            return permitted_by(permissions, Chunk.from_json(body))
        return Bodies(self.seal).chunk(id_, from_text(body), permissions)

    def _sql(self, statement: str) -> "Composed":
        return self._tables.fill(statement)


def _held(caller: Caller) -> dict[str, Any]:
    """Return what the WHERE clause compares with.

    Raises:
        DeniedError: when the caller is nobody.
    """
    return {"tenant": caller.tenant, "clearance": caller.clearance, "atoms": list(readers_of(caller))}
