"""`markgraph evaluate suite=retrieval`: figures of each retriever over a small judged set."""

from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.launching.outcome import PLACE, Outcome, told
from tests.commands.conftest import Ran
from tests.evaluation.conftest import dataset, write_lines
from tests.retrieval.test_rerank import save_tiny

__all__ = ["dataset"]
NO_WEIGHTS = "experiment=no_weights"
KEYS = ["retriever", "ndcg@10", "recall@10", "recall@100", "mrr", "p50_ms", "p95_ms"]
Command = Callable[..., Ran]


def test_gives_a_row_for_each_retriever(markgraph: Command, dataset: Path, home: Path) -> None:
    done = markgraph("evaluate", "suite=retrieval", f"dataset={dataset}", NO_WEIGHTS, "output=json")
    assert done.code == 0
    assert done.json.keys() == {"rows"}
    rows = done.json["rows"]
    assert [row["retriever"] for row in rows] == ["dense", "words", "hybrid"]
    for row in rows:
        assert list(row)[: len(KEYS)] == KEYS
        assert row["queries"] == 2
        low, high = row["intervals"]["ndcg@10"]
        assert low <= row["ndcg@10"] <= high
        assert 0 < row["p50_ms"] <= row["p95_ms"]
    assert rows[1]["ndcg@10"] == rows[1]["mrr"] == 1.0, "each question shares words with its answer alone"
    assert rows[2]["difference"]["to"] in ("dense", "words")
    assert rows[0]["difference"] is None
    assert [entry.name for entry in home.iterdir()] == [next(home.glob("evaluation-*")).name]


def test_says_how_much_of_what_was_judged_is_not_there(markgraph: Command, dataset: Path) -> None:
    judged = "q1\tpay\t1\nq1\tgone\t1\nq7\tpay\t1\nq8\tgone\t1\n"
    (dataset / "qrels.tsv").write_text(judged, "utf-8")
    done = markgraph("evaluate", f"dataset={dataset}", NO_WEIGHTS, "output=json")
    assert [row["queries"] for row in done.json["rows"]] == [1, 1, 1]
    assert "2 judged queries are not in the queries file.\n1 judged documents are not in" in done.err


def test_a_sweep_looks_at_the_last_retriever(
    markgraph: Command, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path / "figure"))
    *_, row = markgraph("evaluate", f"dataset={dataset}", NO_WEIGHTS, "output=json").json["rows"]
    assert row["ndcg@10"] > 0
    assert told(tmp_path / "figure", 0) == Outcome(0, row["ndcg@10"], "ndcg@10")


def test_a_document_is_as_good_as_its_best_chunk(markgraph: Command, dataset: Path) -> None:
    filler = "Nothing of interest is said in this sentence of the document. " * 60
    write_lines(
        dataset / "corpus.jsonl",
        [
            {"_id": "pay", "text": f"{filler}\n\nEach invoice is paid within 30 days. {filler}"},
            {"_id": "breach", "text": f"{filler}\n\nA breach is notified to the authority. {filler}"},
        ],
    )
    words = ["retrievers=words", NO_WEIGHTS, "output=json"]
    [row] = markgraph("evaluate", f"dataset={dataset}", *words).json["rows"]
    assert row["ndcg@10"] == row["recall@10"] == 1.0


def test_prints_a_table_and_draws_a_plot(markgraph: Command, dataset: Path, tmp_path: Path) -> None:
    place = tmp_path / "plot.png"
    done = markgraph("evaluate", "suite=retrieval", f"dataset={dataset}", NO_WEIGHTS, f"plot={place}")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[:4]] == [
        "retriever",
        "dense",
        "words",
        "hybrid",
    ]
    assert "2 queries" in done.out
    assert "hybrid - " in done.out
    assert place.read_bytes().startswith(b"\x89PNG")


def test_the_documents_are_indexed_once(markgraph: Command, dataset: Path, home: Path) -> None:
    words = ["evaluate", f"dataset={dataset}", NO_WEIGHTS, "output=json", "limit=1"]
    first = markgraph(*words).json["rows"]
    [collection] = home.glob("evaluation-*")
    assert [row["ndcg@10"] for row in markgraph(*words).json["rows"]] == [row["ndcg@10"] for row in first]
    assert list(home.glob("evaluation-*")) == [collection]
    assert first[0]["queries"] == 1


def test_goes_on_where_it_was_interrupted(markgraph: Command, dataset: Path, home: Path) -> None:
    words = ["evaluate", f"dataset={dataset}", NO_WEIGHTS, "output=json"]
    first = markgraph(*words).json["rows"]
    [kept] = home.glob("evaluation-*/rankings/*.jsonl")
    lines = kept.read_text().splitlines()
    kept.write_text("\n".join([*lines[:-1], lines[-1][:20]]))
    again = markgraph(*words, "resume=true").json["rows"]
    assert [row["ndcg@10"] for row in again] == [row["ndcg@10"] for row in first]
    assert kept.read_text().count("\n") == 3, "an empty line, the kept one, the torn one, and the new one"
    assert markgraph(*words, "resume=true").json["rows"] == again, "times too: nothing was asked again"


def test_measures_the_reranker_where_there_is_one(markgraph: Command, dataset: Path, tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    words = ["rerank=cross_encoder", f"rerank.reranker.source=file:{tmp_path / 'model'}"]
    chosen = "retrievers=hybrid,hybrid+rerank"
    rows = markgraph("evaluate", f"dataset={dataset}", NO_WEIGHTS, *words, chosen, "output=json").json["rows"]
    assert [row["retriever"] for row in rows] == ["hybrid", "hybrid+rerank"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suite=answer"], "'suite' has value 'answer'. Allowed: retrieval, answers, models"),
        (["dataset=null"], "Say what to measure on: dataset=FOLDER"),
        (["dataset=/nowhere"], "No such folder: dataset=/nowhere. Expected corpus.jsonl"),
        (["retrievers=wrods"], "Allowed: dense, hybrid, words. Did you mean 'words'?"),
        (["retrievers=[]"], "'retrievers' is empty. Allowed: dense"),
        (["k=10"], "'k' has value 10. Allowed: a whole number, 100 to 1000"),
        (["plot=plot.svg"], "A plot is a .png file"),
        (["dataset=/nowhere", "plot=/nope/x.png"], "Cannot write plot=/nope/x.png: there is no folder /nope"),
        (
            ["chunker=null"],
            "'chunker' has value null. Allowed: a mapping with _target_. Leave chunker=... out",
        ),
        (["index.parts=[]"], "index.parts is []; allowed: a list of one index or more"),
        (["index.parts=null"], "index.parts is None; allowed"),
        (["resume=maybe"], "'resume'"),
    ],
)
def test_wrong_use_is_explained(markgraph: Command, dataset: Path, words: list[str], message: str) -> None:
    done = markgraph("evaluate", f"dataset={dataset}", NO_WEIGHTS, *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_a_caller_without_the_permission_is_denied(markgraph: Command, dataset: Path) -> None:
    done = markgraph("evaluate", f"dataset={dataset}", NO_WEIGHTS, "auth.caller.roles=[]")
    assert (done.code, done.out) == (4, "")
