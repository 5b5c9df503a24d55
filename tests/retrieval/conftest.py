"""Servers that the tests of indexes share."""

from collections.abc import Iterator

import pytest

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
