"""`markgraph search`: what is found, why in this order, and that permissions hold here too."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.conftest import Ran
from tests.retrieval.test_rerank import save_tiny

WORDS = "When shall an invoice be paid?"
NO_WEIGHTS = "experiment=no_weights"
Command = Callable[..., Ran]


@pytest.mark.usefixtures("collection")
def test_ranks_passages_and_says_what_each_part_of_the_index_says(
    markgraph: Command, documents: Path
) -> None:
    done = markgraph("search", WORDS, NO_WEIGHTS, "output=json")
    assert done.code == 0
    first = done.json["hits"][0]
    assert "within 30 days" in first["text"]
    assert first["heading"][-1] == "Payment"
    assert (documents / "terms.md").read_text()[first["start"] : first["end"]] == first["text"]
    assert first["places"].keys() == {"dense", "words"}
    assert {place["rank"] for place in first["places"].values()} == {1}
    assert first["score"] == pytest.approx(1.0), "best in both parts"
    assert [hit["rank"] for hit in done.json["hits"]] == list(range(1, len(done.json["hits"]) + 1))
    assert "readers" not in first


@pytest.mark.usefixtures("collection")
def test_prints_the_same_for_people(markgraph: Command) -> None:
    lines = markgraph("search", WORDS, NO_WEIGHTS, "k=1").out.splitlines()
    assert lines[0] == "1. Terms > Payment"
    assert "dense 1. (" in lines[1]
    assert "words 1. (" in lines[1]
    assert "within 30 days" in lines[3]
    assert not any(line.startswith("2.") for line in lines)


@pytest.mark.usefixtures("collection")
def test_ranks_alone_may_be_fused(markgraph: Command) -> None:
    first = markgraph("search", WORDS, NO_WEIGHTS, "index=hybrid_rrf", "output=json").json["hits"][0]
    fused = sum(1 / (60 + place["rank"]) for place in first["places"].values())
    assert first["score"] == pytest.approx(fused)


@pytest.mark.usefixtures("collection")
def test_refines_what_was_found_and_says_so(markgraph: Command) -> None:
    plain = markgraph("search", WORDS, NO_WEIGHTS, "k=2", "output=json").json["hits"]
    done = markgraph("search", WORDS, NO_WEIGHTS, "rerank=diverse", "k=2", "output=json").json["hits"]
    assert {hit["text"] for hit in done} == {hit["text"] for hit in plain}
    assert [hit["places"]["diversity"]["rank"] for hit in done] == [1, 2]
    assert done[0]["places"]["words"] == plain[0]["places"]["words"]


@pytest.mark.usefixtures("collection")
def test_a_reranker_has_the_last_word(markgraph: Command, tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    source = f"rerank.reranker.source=file:{tmp_path / 'model'}"
    done = markgraph("search", WORDS, NO_WEIGHTS, "rerank=cross_encoder", source, "output=json").json["hits"]
    scores = [hit["places"]["rerank"]["score"] for hit in done]
    assert [hit["score"] for hit in done] == scores == sorted(scores, reverse=True)
    assert all({"hybrid", "rerank"} <= hit["places"].keys() for hit in done)
    shown = markgraph("search", WORDS, NO_WEIGHTS, "rerank=cross_encoder", source).out
    assert "rerank 1. (" in shown


@pytest.mark.usefixtures("collection")
def test_a_part_of_the_index_may_be_asked_alone(markgraph: Command) -> None:
    found = markgraph("search", "supplier's liability", NO_WEIGHTS, "index=words", "output=json").json["hits"]
    assert [hit["heading"][-1] for hit in found] == ["Liability"]
    assert found[0]["places"] == {}


def test_shows_nobody_what_they_may_not_read(markgraph: Command, documents: Path) -> None:
    assert markgraph("ingest", str(documents), NO_WEIGHTS, "readers=[g:legal]").code == 0
    denied = markgraph("search", WORDS, NO_WEIGHTS)
    assert denied.code == 3
    assert denied.out == "Nothing that you may read was found.\n"
    assert markgraph("search", WORDS, NO_WEIGHTS, "output=json").json["hits"] == []
    assert markgraph("search", WORDS, NO_WEIGHTS, "auth.caller.groups=[legal]").code == 0


@pytest.mark.usefixtures("collection")
def test_a_caller_without_the_permission_is_denied(markgraph: Command) -> None:
    done = markgraph("search", WORDS, NO_WEIGHTS, "auth.caller.roles=[]")
    assert (done.code, done.out) == (4, "")
    assert "needs permission 'documents:read'" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "Say what to search for"), (["due", "k=0"], "'k'"), (["due", "output=xml"], "'output'")],
)
def test_wrong_use_is_explained(markgraph: Command, words: list[str], message: str) -> None:
    done = markgraph("search", *words, NO_WEIGHTS)
    assert done.code == 2
    assert message in done.err


def test_says_how_to_begin_where_nothing_was_ingested(markgraph: Command) -> None:
    done = markgraph("search", WORDS, NO_WEIGHTS)
    assert done.code == 2
    assert "markgraph ingest FOLDER" in done.err


@pytest.mark.usefixtures("collection")
def test_a_collection_that_is_not_there_is_named_with_those_that_are(markgraph: Command) -> None:
    done = markgraph("search", WORDS, NO_WEIGHTS, "collection=mixx")
    assert done.code == 2
    assert "into collection 'mixx'" in done.err
    assert ": no_weights. Choose one with collection=NAME" in done.err


@pytest.mark.usefixtures("collection")
def test_vectors_of_another_embedder_are_wrong_use(markgraph: Command) -> None:
    done = markgraph("search", WORDS, NO_WEIGHTS, "embedder.dimensions=64")
    assert done.code == 2
    assert "markgraph reindex embedder=NAME collection=" in done.err


def test_bm25s_logs_at_the_level_of_the_application() -> None:
    program = (
        "import logging; import markgraph.retrieval.frequencies; "
        "print(logging.getLogger('bm25s').getEffectiveLevel())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{logging.WARNING}\n"
