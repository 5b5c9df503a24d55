"""The rerank stage: what it does to the passages of a run, and that permissions hold there too."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from markgraph.build import load_graph
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.nodes.rerank import Rerank
from markgraph.nodes.retrieve import to_passage
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.neighbours import Neighbours
from markgraph.retrieval.search import Refine
from markgraph.retrieval.types import Chunk, Hit
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.state import QAState

FIRST = "Payment is due within 30 days."
SECOND = "Payment by cheque takes longer than that."
BEFORE = Chunk(FIRST, "terms.md", "Terms", 0, len(FIRST), readers=("g:legal",))
AFTER = Chunk(SECOND, "terms.md", "Terms", 31, 31 + len(SECOND), readers=("g:legal",))
CHUNKS = [replace(BEFORE, after=AFTER.id), replace(AFTER, before=BEFORE.id)]


class Longest:
    """Prefers long texts."""

    def scores(self, query: str, texts: list[str]) -> list[float]:
        return [float(len(text)) for text in texts]


@pytest.fixture
def index(tmp_path: Path) -> HybridIndex:
    index = HybridIndex([WordsIndex(tmp_path / "words.sqlite")])
    index.add(CHUNKS)
    return index


def run(node: Rerank, caller: Caller, chunks: list[Chunk]) -> list[Any]:
    passages = [to_passage(Hit(chunk, 1.0 - at / 10)) for at, chunk in enumerate(chunks)]
    state: Any = {"passages": passages, "standalone": "When is payment due?"}
    graph = StateGraph(QAState, Caller)
    graph.add_node("rerank", node.__call__)
    graph.add_edge(START, "rerank")
    graph.add_edge("rerank", END)
    return graph.compile().invoke(state, context=caller)["passages"]  # type: ignore[no-any-return]


def test_orders_passages_anew_and_keeps_k(index: HybridIndex, reader: Caller) -> None:
    found = run(Rerank(index, Refine(reranker=Longest()), 1), reader, CHUNKS)
    assert [passage["text"] for passage in found] == [SECOND]
    assert (found[0]["start"], found[0]["end"]) == (31, 31 + len(SECOND))


def test_widens_a_passage_by_its_neighbours(index: HybridIndex, reader: Caller) -> None:
    [found] = run(Rerank(index, Refine(neighbours=Neighbours()), 1), reader, CHUNKS)
    assert found["text"] == f"{FIRST} {SECOND}"
    assert (found["start"], found["end"]) == (0, 31 + len(SECOND))


def test_leaves_out_what_the_caller_may_no_longer_read(index: HybridIndex, reader: Caller) -> None:
    index.permit([AFTER.id], replace(AFTER.permissions, readers=("u:ben",)))
    found = run(Rerank(index, Refine(neighbours=Neighbours()), 9), reader, CHUNKS)
    assert [passage["text"] for passage in found] == [FIRST]


def test_the_graph_has_the_stage_where_it_is_configured(index: HybridIndex, reader: Caller) -> None:
    services: Any = {"model": FakeChatModel(), "embedder": HashEmbeddings(), "index": index}
    plain = load_graph("qa", ["domain=none"], **services)
    assert "rerank" not in plain.get_graph().nodes
    refined = load_graph(
        "qa", ["domain=none", "graph.retrieve.k=1"], rerank=Refine(reranker=Longest()), **services
    )
    updates = {
        name: part
        for step in refined.stream(
            {"question": "When is payment due?"}, context=reader, stream_mode="updates"
        )
        for name, part in step.items()
    }
    assert len(updates["retrieve"]["passages"]) == 2, "as many as are candidates"
    assert [passage["text"] for passage in updates["rerank"]["passages"]] == [SECOND]


@pytest.mark.parametrize("option", ["cross_encoder", "diverse", "neighbours", "full"])
def test_each_option_puts_the_stage_between_retrieve_and_compress(option: str) -> None:
    graph = load_graph("qa", ["model=fake", "embedder=hash", "citations=none", f"rerank={option}"])
    drawn = graph.get_graph().draw_mermaid()
    assert "rerank --> compress" in drawn
    assert "retrieve -. &nbsp;found&nbsp; .-> rerank" in drawn
