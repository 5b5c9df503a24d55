"""Ingestion keeps which passages cite which, and answering follows that."""

from pathlib import Path
from typing import Any

import pytest

from markgraph.build import Graph, load_graph
from markgraph.citations.ladybug import LadybugGraph
from markgraph.errors import ConfigError
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.neighbours import Neighbours
from markgraph.retrieval.search import Refine
from markgraph.retrieval.types import Index
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller

WANDA = Caller("wanda", ("reader", "writer"))
CONTRACT = """# Master Agreement

## 4.2 Payment

Invoices fall due as Section 7.1 says.

## 7.1 Dates

Thirty days after receipt.
"""


@pytest.fixture
def services(tmp_path: Path) -> dict[str, Any]:
    return {
        "index": WordsIndex(tmp_path / "words.sqlite"),
        "citations": LadybugGraph(tmp_path / "citations.lbdb"),
        "embedder": HashEmbeddings(),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "contract.md").write_text(CONTRACT)
    return folder


def ingest(folder: Path, services: dict[str, Any], *overrides: str, **others: Any) -> Any:
    graph = load_graph("ingest", [f"path='{folder}'", *overrides], **services | others)
    return graph.invoke({"limit": None}, context=WANDA)


def passages(qa: Graph) -> list[dict[str, Any]]:
    """Return the passages of a run, as the last node that writes them leaves them."""
    updates = qa.stream({"question": "When do invoices fall due?"}, context=WANDA, stream_mode="updates")
    written = [update["passages"] for step in updates for update in step.values() if "passages" in update]
    return written[-1]  # type: ignore[no-any-return]


def qa(services: dict[str, Any], *overrides: str, **others: Any) -> Graph:
    return load_graph(
        "qa", ["graph.retrieve.k=1", "domain=none", *overrides], model=FakeChatModel(), **services | others
    )


def test_what_a_passage_cites_is_read_too(folder: Path, services: dict[str, Any]) -> None:
    ingest(folder, services)
    found, cited = passages(qa(services))
    assert "Invoices" in found["text"]
    assert "Thirty days" in cited["text"]
    assert cited["metadata"] == {"cited_by": "Master Agreement > 4.2 Payment", "cited_as": "Section 7.1"}
    assert cited["score"] < found["score"]


def test_passages_with_their_neighbours_are_followed_too(folder: Path, services: dict[str, Any]) -> None:
    between = "\n".join(f"## {n} Other\n\nClause {n} says something else.\n" for n in (5, 6))
    (folder / "contract.md").write_text(CONTRACT.replace("## 7.1", f"{between}\n## 7.1"))
    ingest(folder, services)
    found, cited = passages(qa(services, rerank=Refine(1, neighbours=Neighbours(0, 1))))
    assert "Invoices" in found["text"]
    assert "Clause 5" in found["text"], "merged"
    assert len(found["ids"]) == 2
    assert "Thirty days" in cited["text"]


@pytest.mark.parametrize("without", [{"overrides": ["graph.follow=null"]}, {"citations": None}])
def test_the_stage_can_be_left_out(folder: Path, services: dict[str, Any], without: dict[str, Any]) -> None:
    ingest(folder, services)
    graph = qa(services, *without.pop("overrides", []), **without)
    assert "follow" not in graph.get_graph().nodes
    assert len(passages(graph)) == 1


def test_a_changed_or_removed_document_takes_its_citations_along(
    folder: Path, services: dict[str, Any]
) -> None:
    ingest(folder, services)
    (folder / "contract.md").write_text(CONTRACT.replace("7.1 Dates", "7.2 Dates"))
    (folder / "kept.md").write_text("# Kept\n\nNothing.\n")
    ingest(folder, services)
    assert len(passages(qa(services))) == 1
    (folder / "contract.md").unlink()
    ingest(folder, services)
    assert len(services["citations"]) == len(services["index"]) == 1


def test_what_was_ingested_without_citations_is_linked_by_the_next_run(
    folder: Path, services: dict[str, Any]
) -> None:
    ingest(folder, services, citations=None)
    assert len(services["citations"]) == 0
    assert ingest(folder, services)["unchanged"] == 1
    assert len(passages(qa(services))) == 2


def test_refuses_settings_that_follow_nothing(services: dict[str, Any]) -> None:
    for wrong in ("hops=0", "hops=3", "most=0"):
        with pytest.raises(ConfigError, match=r"graph\.follow=null"):
            qa(services, f"graph.follow.{wrong}")


def test_an_index_without_documents_has_no_citations(services: dict[str, Any]) -> None:
    index: Index = services["index"]
    assert len(index) == len(services["citations"]) == 0
