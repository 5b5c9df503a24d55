"""A small collection of contract terms, some of them not for everybody."""

from pathlib import Path

import pytest

from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Chunk, Index
from markgraph.retrieval.words import WordsIndex

PAYMENT = "The customer shall pay each invoice within 30 days of receipt."
LIABILITY = "The supplier's liability under this contract is capped at 150 % of the yearly fees."
BONUS = "The secret bonus of the managing director for the year is 90,000 EUR."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of three documents."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.md").write_text(f"# Terms {name}\n\nPayment {name} is due in thirty days.\n")
    return folder


@pytest.fixture
def embedder() -> HashEmbeddings:
    return HashEmbeddings()


@pytest.fixture
def index(tmp_path: Path) -> Index:
    index = HybridIndex([WordsIndex(tmp_path / "words.sqlite")])
    index.add(
        [
            _chunk(PAYMENT, "terms.md", "public", page=2),
            _chunk(LIABILITY, "contract.md", "g:legal"),
            _chunk(BONUS, "board.md", "u:boss"),
        ]
    )
    return index


def _chunk(text: str, source: str, reader: str, page: int | None = None) -> Chunk:
    return Chunk(text, source, source, 100, 100 + len(text), page=page, readers=(reader,))
