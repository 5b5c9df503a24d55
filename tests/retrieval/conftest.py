"""Servers that the tests of indexes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from markgraph.security.sealing.keyring import Keyring
from tests.servers import chroma_server, postgres_server


@pytest.fixture(scope="session")
def chroma_port() -> Iterator[int]:
    """Run Chroma's server."""
    with chroma_server() as port:
        yield port


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Run Postgres with pgvector."""
    with postgres_server() as conninfo:
        yield conninfo


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Return a keyring with its first master, in a folder of its own."""
    made = Keyring(tmp_path / "keyring" / "masters.json", tmp_path / "keyring" / "keys.sqlite")
    made.rotate()
    return made
