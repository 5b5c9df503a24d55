"""The statements of an index in Postgres. Names are quoted by psycopg, values are always parameters."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markgraph.errors import ConfigError

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

LONGEST_NAME = 63
"""Bytes; Postgres cuts what is longer without a word."""
INDEXABLE = 2000
"""Dimensions up to which pgvector indexes a `vector`; longer ones are compared one by one."""

_PERMITTED = "tenant = %(tenant)s AND classification <= %(clearance)s AND readers && %(atoms)s::text[]"
_COLUMNS = "id, body, tenant, classification, readers"
UPSERT = """
    INSERT INTO {chunks} (id, tenant, classification, readers, body, embedding)
    VALUES (%(id)s, %(tenant)s, %(classification)s, %(readers)s, %(body)s, %(vector)s::vector)
    ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, classification = excluded.classification,
        readers = excluded.readers, body = excluded.body, embedding = excluded.embedding
"""
DELETE = "DELETE FROM {chunks} WHERE id = ANY(%(ids)s)"
OF_OTHER_TENANTS = """
    SELECT id, tenant FROM {chunks} WHERE id = ANY(%(ids)s) AND tenant <> %(tenant)s ORDER BY id LIMIT 1
"""
PERMIT = """
    UPDATE {chunks} SET readers = %(readers)s, classification = %(classification)s
    WHERE id = ANY(%(ids)s) AND tenant = %(tenant)s
"""
GET = f"SELECT {_COLUMNS} FROM {{chunks}} WHERE id = ANY(%(ids)s) AND {_PERMITTED}"  # noqa: S608
SCAN = f"SELECT {_COLUMNS} FROM {{chunks}} WHERE id > %(after)s ORDER BY id LIMIT %(limit)s"  # noqa: S608
SEARCH = f"""
    SELECT {_COLUMNS}, 1 - (embedding <=> %(vector)s::vector) FROM {{chunks}} WHERE {_PERMITTED}
    ORDER BY embedding <=> %(vector)s::vector LIMIT %(k)s
"""  # noqa: S608
SOME = "SELECT body FROM {chunks} LIMIT 1"
RESEAL = "UPDATE {chunks} SET body = %(body)s WHERE id = %(id)s AND body = %(old)s"
VACUUM = "VACUUM FULL {chunks}"
COUNT = "SELECT count(*) FROM {chunks}"
THERE = "SELECT to_regclass(%(table)s) IS NOT NULL"
BUILT_WITH = "SELECT embedder FROM {generations} WHERE name = %(generation)s"
SWITCHED = "SELECT generation FROM {switched}"
SWITCH = """
    INSERT INTO {switched} VALUES (true, %(generation)s)
    ON CONFLICT (one) DO UPDATE SET generation = excluded.generation
"""
GENERATIONS = "SELECT name, embedder FROM {generations}"
DROP = "DROP TABLE IF EXISTS {chunks}"
UNREGISTER = "DELETE FROM {generations} WHERE name = %(generation)s"
# For this transaction: go along the graph, which the planner takes for dearer than it is, until enough is
# permitted; or compare all that is permitted.
ITERATE = """
    SELECT set_config('hnsw.iterative_scan', 'strict_order', true),
        set_config('hnsw.ef_search', %(ef)s, true), set_config('enable_sort', 'off', true)
"""
EXACT = "SELECT set_config('enable_indexscan', 'off', true), set_config('enable_sort', 'on', true)"

_CREATE_SCHEMA = """
    CREATE EXTENSION IF NOT EXISTS vector;
    CREATE SCHEMA IF NOT EXISTS {schema};
    CREATE TABLE IF NOT EXISTS {generations} (name text PRIMARY KEY, embedder text NOT NULL);
    CREATE TABLE IF NOT EXISTS {switched} (one boolean PRIMARY KEY CHECK (one), generation text NOT NULL);
"""
_CREATE_TABLE = """
    CREATE TABLE IF NOT EXISTS {chunks} (
        id text COLLATE "C" PRIMARY KEY, tenant text NOT NULL, classification smallint NOT NULL,
        readers text[] NOT NULL, body text NOT NULL, embedding vector({dimensions}) NOT NULL);
    CREATE INDEX IF NOT EXISTS {by_readers} ON {chunks} USING gin (readers);
"""
_CREATE_GRAPH = "CREATE INDEX IF NOT EXISTS {by_vector} ON {chunks} USING hnsw (embedding vector_cosine_ops)"
_REGISTER = """
    INSERT INTO {generations} VALUES (%(generation)s, %(embedder)s) ON CONFLICT (name) DO NOTHING
"""
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended(%(schema)s, 0))"


@dataclass(frozen=True)
class Tables:
    """Names what a collection has in Postgres, and makes it."""

    collection: str
    generation: str

    def __post_init__(self) -> None:
        if len(self._schema.encode()) > LONGEST_NAME or set("\0%") & set(self._schema):
            raise ConfigError(
                f"Collection {self.collection!r} needs a schema named {self._schema!r}, which is no name for "
                f"Postgres: at most {LONGEST_NAME} bytes, no NUL, no %. Choose another name: collection=NAME."
            )

    @property
    def chunks_name(self) -> str:
        """Return the table's name, quoted."""
        return f"{_quoted(self._schema)}.{_quoted(self._chunks)}"

    @property
    def switched_name(self) -> str:
        """Return the name of the table with the note, quoted."""
        return f"{_quoted(self._schema)}.switched"

    def fill(self, statement: str, **values: Any) -> "Composed":
        """Return `statement`, one of this module, with its names filled in."""
        from psycopg.sql import SQL, Identifier, Literal

        names = {
            "schema": Identifier(self._schema),
            "chunks": Identifier(self._schema, self._chunks),
            "generations": Identifier(self._schema, "generations"),
            "switched": Identifier(self._schema, "switched"),
            "by_readers": Identifier(f"{self._chunks}_by_readers"),
            "by_vector": Identifier(f"{self._chunks}_by_vector"),
        }
        literals = {key: Literal(value) for key, value in values.items()}
        return SQL(statement).format(**names, **literals)

    def create(self, connection: "Connection[Any]", embedder: str, dimensions: int) -> None:
        """Make what isn't there yet; two who do so at once don't disturb each other."""
        connection.execute(_ONE_AT_A_TIME, {"schema": self._schema})
        connection.execute(self.fill(_CREATE_SCHEMA))
        connection.execute(self.fill(_CREATE_TABLE, dimensions=dimensions))
        if dimensions <= INDEXABLE:
            connection.execute(self.fill(_CREATE_GRAPH))
        names = {"generation": self.generation, "embedder": embedder}
        connection.execute(self.fill(_REGISTER), names)

    @property
    def _schema(self) -> str:
        return f"markgraph_{self.collection}"

    @property
    def _chunks(self) -> str:
        return f"chunks_{self.generation}" if self.generation else "chunks"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
