"""Files to load, written where a test wants them."""

from pathlib import Path

import pytest

from markgraph.documents.load import load
from markgraph.documents.types import Document


@pytest.fixture
def read(tmp_path: Path):
    """Return a function that writes a file and loads it."""

    def read(name: str, data: bytes | str) -> Document:
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return load(path, f"docs/{name}")

    return read
