"""Real places for threads, each test with one of its own."""

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from markgraph import checkpoints
from markgraph.security.sealing.keyring import Keyring
from tests.servers import postgres_server

NAMES = (f"threads{number}" for number in itertools.count())


@dataclass
class Place:
    """Where threads are kept."""

    path: str = ""
    conninfo: str = ""

    def open(self, seal: Keyring | None = None) -> Any:
        """Return a checkpointer, as another process would open it."""
        if self.path:
            return checkpoints.sqlite(self.path, seal)
        return checkpoints.postgres(self.conninfo, seal=seal)

    def dump(self) -> bytes:
        """Return every byte that is kept."""
        if self.path:
            return b"".join(file.read_bytes() for file in Path(self.path).parent.glob("threads.sqlite*"))
        with psycopg.connect(self.conninfo) as connection:
            tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
            rows = [row for table in tables for row in connection.execute(f"SELECT * FROM {table}".encode())]
        return b"\n".join(
            cell if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row
        )

    def execute(self, statement: str) -> None:
        """Change what is kept behind the checkpointer's back; Postgres' tables have other names."""
        if self.path:
            with sqlite3.connect(self.path) as connection:
                connection.execute(statement)
            connection.close()
            return
        with psycopg.connect(self.conninfo) as connection:
            connection.execute(
                statement.replace("writes", "checkpoint_writes").replace("value", "blob").encode()
            )


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Run Postgres."""
    with postgres_server() as conninfo:
        yield conninfo


@pytest.fixture
def database(postgres: str) -> str:
    """Return the connection string of an empty database."""
    return new_database(postgres)


def new_database(conninfo: str) -> str:
    """Make a database, and return its connection string."""
    name = next(NAMES)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return psycopg.conninfo.make_conninfo(conninfo, dbname=name)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return an empty place, of each kind."""
    if request.param == "sqlite":
        return Place(path=str(tmp_path / "threads.sqlite"))
    return Place(conninfo=request.getfixturevalue("database"))


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Return a keyring with its first master."""
    made = Keyring(tmp_path / "masters.json", tmp_path / "keys.sqlite")
    made.rotate()
    return made
