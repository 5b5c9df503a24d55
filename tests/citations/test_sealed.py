"""A sealed citation graph passes the suite of its port, and holds no text, act or term in clear."""

from pathlib import Path

import pytest

from markgraph.citations.index import CitedIndex, relink
from markgraph.citations.ladybug import LadybugGraph
from markgraph.citations.types import CitationGraph, Link
from markgraph.errors import SealError
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.sealing.keyring import Keyring
from tests.citations.graph_suite import GraphSuite, node
from tests.citations.test_graphs import keys_in

DOCUMENT = [
    Chunk("“Canaryterm” means a bird.", "canaryact.md", "canaryact", 0, 26, heading=("Article 3",)),
    Chunk(
        "Article 3 applies to each Canaryterm.", "canaryact.md", "canaryact", 27, 64, heading=("Article 9",)
    ),
]
CANARIES = [b"anaryterm", b"canaryact", b"Article 3", b"art 3"]


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path / "masters.json", tmp_path / "keys.sqlite")
    made.rotate()
    return made


class TestSealedLadybugGraph(GraphSuite):
    @pytest.fixture(autouse=True)
    def _keyring(self, keyring: Keyring) -> None:
        self.seal = keyring

    def make_graph(self, path: Path) -> CitationGraph:
        return LadybugGraph(path / "citations.lbdb", self.seal)

    def keys_in(self, graph: CitationGraph) -> set[str]:
        """Return the keys of the suite that are kept, found by their HMACs."""
        assert isinstance(graph, LadybugGraph)
        names = {graph._row(node("a"), {"key": key})["key"]: key for key in "kmn"}
        return {names[kept] for kept in keys_in(graph)}


def linked(path: Path, seal: Keyring | None) -> tuple[list[Link], bytes]:
    """Return what the document's passages cite, and every byte of the graph."""
    graph = LadybugGraph(path / "citations.lbdb", seal)
    index = CitedIndex(WordsIndex(path / "words.sqlite", seal=seal), graph)
    index.add(DOCUMENT)
    found = graph.neighbours([chunk.id for chunk in DOCUMENT])
    return found, b"".join(file.read_bytes() for file in path.glob("citations.lbdb*"))


def test_links_the_same_and_keeps_nothing_in_clear(tmp_path: Path, keyring: Keyring) -> None:
    sealed, kept = linked(tmp_path / "sealed", keyring)
    plain, clear = linked(tmp_path / "plain", None)
    assert sealed == plain
    assert any(link.text == "Article 3" for link in plain)
    assert any(link.term for link in plain)
    assert [canary for canary in CANARIES if canary in kept] == []
    assert [canary for canary in CANARIES if canary not in clear] == []


def test_refuses_what_is_not_as_the_config_says(tmp_path: Path, keyring: Keyring) -> None:
    linked(tmp_path / "sealed", keyring)
    linked(tmp_path / "plain", None)
    ids = [chunk.id for chunk in DOCUMENT]
    with pytest.raises(SealError, match="are sealed"):
        LadybugGraph(tmp_path / "sealed" / "citations.lbdb").neighbours(ids)
    with pytest.raises(SealError, match="are not sealed"):
        LadybugGraph(tmp_path / "plain" / "citations.lbdb", keyring).neighbours(ids)


def test_linking_anew_seals_what_lay_in_clear(tmp_path: Path, keyring: Keyring) -> None:
    before, _ = linked(tmp_path, None)
    index = WordsIndex(tmp_path / "words.sqlite", seal=keyring)
    index.reseal()
    graph = LadybugGraph(tmp_path / "citations.lbdb", keyring)
    relink(index, graph)
    assert graph.neighbours([chunk.id for chunk in DOCUMENT]) == before
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("citations.lbdb*"))
    assert [canary for canary in CANARIES if canary in kept] == []
