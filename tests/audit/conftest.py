"""The collection that the graphs' tests have, too, and graphs over it that leave what they do in a log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from markgraph.audit.file import FileAudit
from markgraph.build import Graph, load_graph
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Index
from tests.graphs.conftest import PAYMENT, embedder, folder, index

__all__ = ["embedder", "folder", "index"]
Build = Callable[..., Graph]


@pytest.fixture
def log(tmp_path: Path) -> FileAudit:
    return FileAudit(str(tmp_path / "audit"), str(tmp_path / "audit/keys"))


@pytest.fixture
def build(index: Index, embedder: HashEmbeddings, log: FileAudit) -> Build:
    """Return a function that builds a graph whose model says some responses."""

    def made(name: str, *responses: Any, overrides: tuple[str, ...] = (), **services: Any) -> Graph:
        model = FakeChatModel(responses=list(responses) or [f"{PAYMENT} [1]"])
        shared = {"model": model, "embedder": embedder, "index": index, "audit": log}
        return load_graph(name, overrides, **shared | services)

    return made
