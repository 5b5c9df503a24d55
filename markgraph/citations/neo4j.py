"""Keeps a citation graph in a Neo4j server, or another one that speaks Bolt and openCypher.

Uses the driver itself: `Neo4jGraph` of langchain-neo4j commits each statement by itself, and a document's
old links must go in the same transaction in which its new ones come.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markgraph.citations.cypher import CypherGraph, Run
from markgraph.errors import MissingExtraError, StorageError, UsageError
from markgraph.security.doors import is_loopback
from markgraph.security.sealing.keyring import Keyring

if TYPE_CHECKING:
    from neo4j import Driver, ManagedTransaction, Transaction

SCHEMA = (
    "CREATE CONSTRAINT markgraph_passage IF NOT EXISTS FOR (p:Passage) REQUIRE p.id IS UNIQUE",
    "CREATE CONSTRAINT markgraph_citation_key IF NOT EXISTS FOR (k:CitationKey) REQUIRE k.key IS UNIQUE",
)


@dataclass
class Neo4jGraph(CypherGraph):
    """Connects at the first use; each collection keeps to ids and keys of its own.

    The server gets ids, citations as they are written, defined terms, and the names of tenants and documents,
    but no other text. It is on this machine unless `remote` says otherwise.
    """

    url: str
    collection: str
    username: str = "neo4j"
    password: str | None = field(default=None, repr=False)
    database: str = "neo4j"
    remote: bool = False
    timeout: float = 10.0
    """Seconds until a server that doesn't answer is given up."""
    seal: Keyring | None = None

    def __post_init__(self) -> None:
        self.prefix = f"{self.collection}/"
        host = urlsplit(self.url).hostname
        if not host or not self.url.startswith(("bolt", "neo4j")):
            raise UsageError(
                f"citations.url is {self.url!r}. Allowed: bolt://HOST:PORT or neo4j://HOST:PORT."
            )
        if not self.remote and not is_loopback(host):
            raise UsageError(
                f"citations.url names another machine, {host}. Names of documents and citations would "
                "be sent there: set citations.remote=true if that is meant."
            )

    @contextmanager
    def _reading(self) -> Iterator[Run | None]:
        with self._transaction(writes=False) as run:
            yield run

    @contextmanager
    def _writing(self) -> Iterator[Run]:
        with self._transaction(writes=True) as run:
            yield run

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Run]:
        from neo4j import READ_ACCESS, WRITE_ACCESS
        from neo4j.exceptions import DriverError, Neo4jError

        access = WRITE_ACCESS if writes else READ_ACCESS
        try:
            session = self._driver.session(database=self.database, default_access_mode=access)
            with session, session.begin_transaction() as transaction:
                yield _runner(transaction)
                transaction.commit()
        except (DriverError, Neo4jError, OSError) as error:
            raise StorageError(
                f"Neo4j at {self.url} did not do as asked: {error}. Is it running, and are "
                "citations.username, citations.database and NEO4J_PASSWORD right?"
            ) from error

    @cached_property
    def _driver(self) -> "Driver":
        try:
            from neo4j import GraphDatabase
        except ImportError as error:
            raise MissingExtraError(
                "Neo4j's driver is not installed: pip install 'markgraph[neo4j]'."
            ) from error
        auth = (self.username, self.password) if self.password else None
        waiting: dict[str, Any] = {
            "connection_timeout": self.timeout,
            "connection_acquisition_timeout": self.timeout,
            "max_transaction_retry_time": self.timeout,
        }
        driver = GraphDatabase.driver(self.url, auth=auth, **waiting)
        try:
            for statement in SCHEMA:
                driver.execute_query(statement, database_=self.database)
        except Exception:
            driver.close()
            raise
        return driver

    def close(self) -> None:
        """End the connection; the next use makes a new one."""
        if "_driver" in self.__dict__:
            self.__dict__.pop("_driver").close()


def _runner(transaction: "Transaction | ManagedTransaction") -> Run:
    def run(statement: str, parameters: dict[str, Any]) -> list[list[Any]]:
        return [list(record.values()) for record in transaction.run(statement, parameters)]

    return run
