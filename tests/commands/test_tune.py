"""`markgraph tune retriever`: a weight that is fitted, what it is worth, and how other commands use it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.utils import instantiate

from markgraph.build import compose
from tests.commands.conftest import Ran
from tests.evaluation.conftest import write_lines

NO_WEIGHTS = "experiment=no_weights"
SUBJECTS = ["invoice", "liability", "warranty", "notice", "audit", "license", "insurance", "delivery"]
PLACES = ["Berlin", "Paris", "Rome", "Vienna", "Madrid"]
Command = Callable[..., Ran]


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """Return questions whose answer shares a rare word with them, and others that share many common ones."""
    folder = tmp_path / "judged"
    folder.mkdir()
    documents, queries, qrels = [], [], []
    for subject in SUBJECTS:
        for place in PLACES:
            id_ = f"{subject}-{place}"
            rules = (
                f"The party in {place} shall provide for {subject} as agreed. "
                + "The party shall agree. " * 6
            )
            documents.append({"_id": id_, "text": rules})
            queries.append(
                {"_id": id_, "text": f"What shall the party agree and provide, {subject} {place}?"}
            )
            qrels.append(f"{id_}\t{id_}\t1\n")
    write_lines(folder / "corpus.jsonl", documents)
    write_lines(folder / "queries.jsonl", queries)
    (folder / "qrels.tsv").write_text("".join(qrels), "utf-8")
    return folder


def test_a_real_gain_is_written_down_and_used_by_name(markgraph: Command, judged: Path, home: Path) -> None:
    coarse = ["embedder=hash", "embedder.dimensions=4"]  # many words share a bucket
    words = ["index.fusion.weight=1.0", *coarse, "name=contracts", "output=json"]
    done = markgraph("tune", "retriever", f"dataset={judged}", *words)
    assert done.code == 0
    fit = done.json
    assert fit["gains"] is True
    assert fit["gain"]["low"] > 0
    assert fit["weight"] == fit["fitted"] < fit["configured"] == 1.0
    figures = {point["weight"]: point["ndcg@10"] for point in fit["curve"]}
    assert figures[fit["weight"]] >= max(figures.values()) - 0.001
    assert fit["override"] == "experiment=contracts"
    assert Path(fit["written"]) == home / "conf/experiment/contracts.yaml"
    for job in ("ask", "search", "embed", "serve", "evaluate"):
        for index in ("hybrid", "hybrid_large"):
            tuned = compose(job, ["experiment=contracts", f"index={index}"]).index
            assert instantiate(tuned.fusion).weight == fit["weight"]
    found = markgraph("evaluate", "experiment=contracts", *coarse, f"dataset={judged}", "output=json")
    assert found.json["rows"][2]["ndcg@10"] == pytest.approx(figures[fit["weight"]], abs=0.02)


def test_claims_no_gain_that_is_not_there(markgraph: Command, judged: Path) -> None:
    words = [f"dataset={judged}", NO_WEIGHTS, "index.fusion.weight=0.3"]
    fit = markgraph("tune", "retriever", *words, "output=json").json
    assert fit["gains"] is False
    assert fit["weight"] == fit["configured"] == 0.3
    assert compose("ask", ["experiment=tuned"]).index.fusion.weight == 0.3
    shown = markgraph("tune", "retriever", *words).out
    assert "<- fitted" in shown
    assert "show no gain, so the configured weight is kept" in shown
    assert "To use it: experiment=tuned" in shown


def test_says_what_may_be_fitted(markgraph: Command) -> None:
    done = markgraph("tune", NO_WEIGHTS)
    assert done.code == 2
    assert "markgraph tune retriever dataset=FOLDER" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reader"], "'what' has value 'reader'. Allowed: retriever"),
        (["retriever", "index=dense"], "Index 'dense' has no weight to fit. Allowed: index=hybrid"),
        (["retriever", "index=hybrid_rrf"], "Index 'hybrid' has no weight to fit"),
        (["retriever", "name=../x"], "'name' has value '../x'. Allowed: letters"),
        (["retriever", "name=wide"], "'wide', which is an overlay of the package. Choose another"),
        (["retriever", "dataset=null"], "dataset=FOLDER"),
    ],
)
def test_wrong_use_is_explained(markgraph: Command, judged: Path, words: list[str], message: str) -> None:
    done = markgraph("tune", *words[:1], f"dataset={judged}", NO_WEIGHTS, *words[1:])
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_an_unknown_overlay_names_those_that_there_are(markgraph: Command, judged: Path) -> None:
    markgraph("tune", "retriever", f"dataset={judged}", NO_WEIGHTS, "name=contracts", "limit=5")
    done = markgraph("search", "x", "experiment=contract")
    assert done.code == 2
    assert "contracts" in done.err
