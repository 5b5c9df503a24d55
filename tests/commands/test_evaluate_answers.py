"""`markgraph evaluate suite=answers`: questions in, one report for all that were asked them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from markgraph.evaluation.questions import Questions
from markgraph.evaluation.scoring import METRICS
from markgraph.launching.outcome import PLACE, Outcome, told
from tests.commands.conftest import Ran
from tests.evaluation.conftest import write_lines

Command = Callable[..., Ran]
NO_WEIGHTS = "experiment=no_weights"
INVOICE = {
    "question": "Within how many days of receipt shall the customer pay each invoice?",
    "answers": ["30 days"],
}
ANSWER = "The bridge of Keld was built in 1804 [1]."


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Return a folder of documents, with a question about each of them."""
    folder = tmp_path / "places"
    folder.mkdir()
    towns = ["Aldow", "Birkby", "Corley", "Denholm", "Keld", "Farway"]
    write_lines(
        folder / "corpus.jsonl",
        [
            {"_id": town, "text": f"The bridge of {town} was built in {1800 + n}."}
            for n, town in enumerate(towns)
        ],
    )
    write_lines(
        folder / "queries.jsonl",
        [
            {"_id": f"q{n}", "text": f"When was the bridge of {town} built?", "answers": [str(1800 + n)]}
            for n, town in enumerate(towns)
        ],
    )
    (folder / "qrels.tsv").write_text("".join(f"q{n}\t{town}\t1\n" for n, town in enumerate(towns)), "utf-8")
    return folder


@pytest.fixture
def evaluate(markgraph: Command, places: Path) -> Command:
    """Return a function that runs the suite with a scripted model."""

    def call(*words: str, answer: str = ANSWER) -> Ran:
        usual = [
            "suite=answers",
            f"dataset={places}",
            NO_WEIGHTS,
            "model=fake",
            f'model.responses=["{answer}"]',
        ]
        return markgraph("evaluate", *usual, *words)

    return call


def test_gives_scores_with_intervals(evaluate: Command, home: Path) -> None:
    done = evaluate("graph.questions.unanswerable=0", "output=json")
    assert done.code == 0, done.err
    [row] = done.json["rows"]
    assert row["subject"] == "fake"
    assert row["questions"] == done.json["questions"] == 6
    assert row["contains"] == pytest.approx(1 / 6, abs=1e-4)
    for metric in METRICS:
        low, high = row["intervals"][metric]
        assert low <= row[metric] <= high
    [folder] = (home / "evaluations").iterdir()
    assert folder.name.startswith("answers-places-passages-")
    assert json.loads((folder / "report.json").read_text("utf-8")) == done.json
    assert "1804" in (folder / "report.html").read_text("utf-8")


@pytest.mark.parametrize(("more", "metric"), [((), "f1"), (("metric=contains",), "contains")])
def test_a_sweep_looks_at_the_metric(
    more: tuple[str, ...], metric: str, evaluate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path / "figure"))
    [row] = evaluate("graph.questions.unanswerable=0", "output=json", *more).json["rows"]
    assert row[metric] > 0
    assert told(tmp_path / "figure", 0) == Outcome(0, row[metric], metric)


def test_prints_a_table_and_where_the_report_is(evaluate: Command) -> None:
    done = evaluate()
    assert "groundedness" in done.out
    assert "6 questions" in done.out
    page = done.out.rpartition("Report: ")[2].strip()
    assert Path(page).is_file()


def test_a_sweep_is_one_report(evaluate: Command, home: Path) -> None:
    done = evaluate("-m", "graph.asked.generate.instructions=Be brief.,Be long.")
    assert done.code == 0, done.err
    [folder] = (home / "evaluations").iterdir()
    report = json.loads((folder / "report.json").read_text("utf-8"))
    assert [row["subject"].rpartition("=")[2] for row in report["rows"]] == ["Be brief.", "Be long."]
    [difference] = report["differences"]
    assert difference["questions"] == 6
    assert difference["metrics"]["f1"]["mean"] == 0
    assert "no difference that these questions show" in done.out


def test_configs_are_asked_one_after_the_other(evaluate: Command) -> None:
    right = "configs=['model.model=a','model.model=b graph.asked.generate.instructions=Short']"
    rows = evaluate(right, "output=json").json["rows"]
    assert [row["subject"] for row in rows] == [
        "model.model=a",
        "model.model=b graph.asked.generate.instructions=Short",
    ]


def test_goes_on_where_it_was_interrupted(evaluate: Command, home: Path) -> None:
    first = evaluate("output=json").json["rows"]
    [file] = home.glob("evaluations/*/answers/*.jsonl")
    lines = file.read_text("utf-8").split("\n")
    marked = json.loads(lines[1]) | {"seconds": 1234.5}
    file.write_text("\n".join([lines[0], json.dumps(marked), lines[2][:30]]), "utf-8")
    [row] = evaluate("output=json", "resume=true").json["rows"]
    assert row["f1"] == first[0]["f1"]
    assert row["p95_ms"] > 1000, "the first is the one that was kept"
    assert evaluate("output=json").json["rows"][0]["p95_ms"] < 1000000, "without resume all are asked anew"


def test_a_graph_searches_the_documents_of_the_data_set(evaluate: Command, home: Path) -> None:
    done = evaluate("over=graph", "graph.questions.unanswerable=0", "output=json")
    assert done.code == 0, done.err
    [row] = done.json["rows"]
    assert row["questions"] == 6
    assert row["citation_recall"] > 0.5, "what was not right is replaced by the sources' own words"
    assert row["routes"]["general"]["questions"] == 6
    assert [folder.name for folder in home.glob("evaluation-*")], (
        "the documents are in a collection of their own"
    )


def test_a_graph_searches_a_collection(
    markgraph: Command, collection: None, tmp_path: Path, home: Path
) -> None:
    write_lines(tmp_path / "asked.jsonl", [INVOICE])
    words = ["suite=answers", f"dataset={tmp_path / 'asked.jsonl'}", "over=graph", NO_WEIGHTS, "model=fake"]
    [row] = markgraph("evaluate", *words, "output=json").json["rows"]
    assert row["contains"] == row["citation_precision"] == 1


def test_of_a_sealed_collection_only_figures_are_kept(
    markgraph: Command, documents: Path, tmp_path: Path, home: Path
) -> None:
    sealed = [NO_WEIGHTS, "seal=keyring"]
    assert markgraph("keys", "rotate", "seal=keyring").code == 0
    assert markgraph("ingest", str(documents), *sealed).code == 0
    write_lines(tmp_path / "asked.jsonl", [INVOICE])
    words = ["suite=answers", f"dataset={tmp_path / 'asked.jsonl'}", "over=graph", "model=fake", *sealed]
    [row] = markgraph("evaluate", *words, "output=json").json["rows"]
    assert row["contains"] == 1
    kept = [file.read_text("utf-8") for file in (home / "evaluations").rglob("*") if file.is_file()]
    assert kept
    assert not any("30 days" in text or "invoice" in text for text in kept)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["over=both"], "'over' has value 'both'. Allowed: passages, graph"),
        (["dataset=null"], "Say what to ask: dataset=FOLDER"),
        (["dataset=/nowhere"], "There is nothing at dataset=/nowhere"),
        (["graph.questions.passages=0"], "passages is 0. Allowed: 1 or more"),
        (["graph.questions.pasages=2"], "passages"),
        (["configs=[]"], "'configs' is empty"),
        (["run=../elsewhere"], "Allowed: the name of a folder"),
    ],
)
def test_wrong_use_is_explained(evaluate: Command, words: list[str], message: str) -> None:
    done = evaluate(*words)
    assert (done.code, done.out) == (2, ""), done.err
    assert message in done.err


def test_who_may_not_evaluate_is_denied_and_leaves_nothing(evaluate: Command, home: Path) -> None:
    done = evaluate("auth.caller.roles=[reader]")
    assert (done.code, done.out) == (4, "")
    assert "graph:run" in done.err
    assert not list(home.rglob("*.jsonl"))


def test_secrets_of_a_config_are_not_in_the_report(evaluate: Command, home: Path) -> None:
    told = "graph.asked.generate.instructions='Cite https://me:hunter2@example.org'"
    assert evaluate(told).code == 0
    kept = [file.read_text("utf-8") for file in home.glob("evaluations/**/*") if file.is_file()]
    assert any("(withheld)" in text for text in kept)
    assert not any("hunter2" in text for text in kept)


@pytest.fixture
def towns(tmp_path: Path) -> Path:
    """Return forty questions, each with the sentence that answers it."""
    rows = [
        {
            "question": f"When was bridge {n} built?",
            "answers": [str(1800 + n)],
            "passages": [f"In {1800 + n}."],
        }
        for n in range(40)
    ]
    write_lines(tmp_path / "towns.jsonl", rows)
    return tmp_path / "towns.jsonl"


def test_a_gate_lets_through_what_is_better_and_nothing_else(
    markgraph: Command, towns: Path, home: Path
) -> None:
    words = [
        "evaluate",
        "suite=answers",
        f"dataset={towns}",
        NO_WEIGHTS,
        "model=fake",
        "run=gate",
        "metric=f1",
    ]
    bad, good = 'model.responses=["In 1700 [1]."]', "model.responses=[%s]"
    right = good % ",".join(f"'In {1800 + n} [1].'" for n in (0, *order_of(towns)))
    first = markgraph(*words, "label=first", bad)
    assert first.code == 0, "nobody to be compared with"
    worse = markgraph(*words, "label=worse", 'model.responses=["No idea."]')
    assert worse.code == 3
    assert "worse: not accepted: f1: not better" in worse.out
    better = markgraph(*words, "label=better", right)
    assert better.code == 0, better.out
    assert "better: accepted." in better.out
    assert markgraph(*words, "label=first", bad).code == 0, "asked anew, it is still the first"
    page = (home / "evaluations" / "gate" / "report.html").read_text("utf-8")
    assert "Not accepted: f1" in page
    assert "Accepted." in page


def order_of(file: Path) -> list[int]:
    """Return the numbers of the bridges in the order in which they are asked about."""
    return [int(id_) - 1 for id_ in Questions(str(file)).by_id]


def test_a_gate_knows_its_metrics(markgraph: Command, towns: Path) -> None:
    done = markgraph("evaluate", "suite=answers", f"dataset={towns}", NO_WEIGHTS, "model=fake", "metric=f2")
    assert (done.code, done.out) == (2, "")
    assert "'f2', which is no metric" in done.err
