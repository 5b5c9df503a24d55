"""What rows are made of passages and questions, with MARK's own prompt and validator."""

import json
from pathlib import Path
from typing import Any

import pytest

from markgraph.errors import ConfigError, UsageError
from markgraph.nodes.validate import Validate
from markgraph.retrieval.types import Chunk
from markgraph.training.data.exercises import Shown
from markgraph.training.data.mix import Mix
from markgraph.training.data.prompts import passages_of
from markgraph.training.data.questions import Questions
from markgraph.training.data.source import digest
from markgraph.training.rows import Row
from markgraph.validation.refusals import REFUSAL
from tests.training.things import DAYS, EMBEDDER, THINGS, rows_of, said_of, things, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return things(tmp_path / "things")


def passages_in(row: Row) -> dict[int, str]:
    """Return the passages of a prompt by their numbers, as whoever reads it would find them."""
    blocks = row["messages"][-1]["content"].split("\n\n")
    assert blocks.pop().startswith("Question: ")
    return {int(block[1 : block.index("]")]): block for block in blocks}


def test_asks_as_the_graph_does_and_answers_with_the_number_of_the_passage(folder: Path) -> None:
    rows, left = rows_of(Questions(EMBEDDER, str(folder), ["public"]))
    assert len(rows) + len(left) == len(THINGS)
    answered = [row for row in rows if row["completion"] != REFUSAL]
    assert len(answered) > len(THINGS) / 2
    for row in answered:
        assert row["messages"][0]["content"].startswith("Answer the question in one or two sentences")
        said, mark = row["completion"][:-1].split(" [")
        assert said in passages_in(row)[int(mark)]
        assert len(passages_in(row)) == 3
    assert {row["completion"][-3:] for row in answered} == {"[1]", "[2]", "[3]"}, "the place tells nothing"


def test_what_is_to_be_learned_passes_the_validator_of_the_graph(folder: Path) -> None:
    rows, _ = rows_of(Questions(EMBEDDER, str(folder), ["public"]))
    chunks = {thing: Chunk(said_of(thing), thing, "", 0, len(said_of(thing))) for thing in THINGS}
    validate = Validate(EMBEDDER)
    for row in rows:
        if row["completion"] == REFUSAL:
            continue
        shown = [
            chunks[next(thing for thing in THINGS if thing in block)] for block in passages_in(row).values()
        ]
        question = row["messages"][-1]["content"].rpartition("Question: ")[2]
        state: Any = {"passages": passages_of(shown), "standalone": question, "draft": row["completion"]}
        assert validate(state)["verdict"]["grounded"], row


def test_refuses_where_the_passage_is_left_out_and_still_counts_its_document(folder: Path) -> None:
    shown = Shown(unanswerable=0.99, apart=0.0)
    rows, _ = rows_of(Questions(EMBEDDER, str(folder), ["public"], shown=shown, checked=False))
    assert len(rows) > len(THINGS) / 2
    for row in rows:
        thing = row["messages"][-1]["content"].rpartition("must the ")[2].partition(" ")[0]
        assert row["completion"] == REFUSAL
        assert not any(said_of(thing) in block for block in passages_in(row).values())
        assert thing in row["documents"]
        assert len(row["documents"]) == 3
    tasks, _ = rows_of(Questions(EMBEDDER, str(folder), ["public"], shown=shown, checked=False), "task")
    assert all(row["reference"] == [] for row in tasks)


def test_leaves_out_an_unanswerable_question_that_the_other_passages_may_answer(folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as corpus:
        corpus.write(
            json.dumps({"_id": "copy", "text": "The violin must be returned within a week and six days."})
        )
    source = Questions(EMBEDDER, str(folder), ["public"], shown=Shown(unanswerable=0.99, apart=0.0))
    rows, left = rows_of(source)
    assert ("things", "the passages that are left may answer it", "q-violin") in left
    assert len(rows) > len(THINGS) / 2


def test_some_documents_are_never_shown_with_the_others(folder: Path) -> None:
    rows, _ = rows_of(
        Questions(EMBEDDER, str(folder), ["public"], shown=Shown(apart=0.4, seed=1), checked=False)
    )
    parts: list[set[str]] = []
    for row in rows:
        joined = {*row["documents"]}.union(*(part for part in parts if not part.isdisjoint(row["documents"])))
        parts = [part for part in parts if part.isdisjoint(joined)] + [joined]
    assert len(parts) > 1


def test_a_wrong_answer_of_a_pair_is_none_that_its_passage_gives(folder: Path) -> None:
    rows, _ = rows_of(Questions(EMBEDDER, str(folder), ["public"], checked=False), "pair")
    assert {row["rejected"] == REFUSAL for row in rows} == {True, False}
    for row in rows:
        assert row["chosen"] != row["rejected"]
        thing = row["messages"][-1]["content"].rpartition("must the ")[2].partition(" ")[0]
        assert f"{DAYS[thing]} days" not in row["rejected"]


def test_rows_to_search_with_have_hard_negatives(folder: Path) -> None:
    rows, _ = rows_of(Questions(EMBEDDER, str(folder), ["public"], shown=Shown(passages=4)), "search")
    assert len(rows) == len(THINGS)
    for row in rows:
        assert row["query"].split()[3] in row["positive"]
        assert len(row["negatives"]) == 3
        assert row["positive"] not in row["negatives"]


def test_to_search_with_a_question_and_its_relevant_passage_are_enough(folder: Path) -> None:
    write(
        folder / "queries.jsonl",
        [{"_id": f"q-{thing}", "text": f"Is there a {thing}?", "answer": "yes"} for thing in THINGS],
    )
    rows, left = rows_of(Questions(EMBEDDER, str(folder), ["public"]), "search")
    assert left == []
    assert [(row["query"], row["positive"]) for row in rows] == [
        (f"Is there a {thing}?", said_of(thing)) for thing in THINGS
    ]
    with pytest.raises(UsageError, match=r"queries\.jsonl has no answers"):
        rows_of(Questions(EMBEDDER, str(folder), ["public"]), "chat")


def test_to_search_with_the_best_passage_counts_and_no_relevant_one_is_a_negative(folder: Path) -> None:
    copies = [{"_id": f"violin{at}", "text": f"{said_of('violin')} Copy {at}."} for at in range(3)]
    same, blank = (
        {"_id": "again", "text": copies[1]["text"]},
        {"_id": "blank", "title": "violin", "text": " "},
    )
    write(folder / "corpus.jsonl", [*copies, same, blank, {"_id": "lorry", "text": said_of("lorry")}])
    asked = ("When must the violin be returned?", "Where is it kept?")
    write(folder / "queries.jsonl", [{"_id": f"q{at}", "text": text} for at, text in enumerate(asked)])
    judged = "q0\tviolin0\t1\nq0\tviolin1\t2\nq0\tviolin2\t1\nq0\tlost\t3\nq1\tblank\t1\n"
    (folder / "qrels.tsv").write_text(judged, "utf-8")
    source = Questions(EMBEDDER, str(folder), ["public"], shown=Shown(passages=9, apart=0.0))
    (row,), left = rows_of(source, "search")
    assert row["positive"] == copies[1]["text"]
    assert row["negatives"] == [said_of("lorry")]
    assert row["right"] == sorted(digest(copies[at]["text"]) for at in (0, 2))
    assert left == [("things", "the corpus has no text of what is relevant", "q1")]


def test_the_same_seed_gives_the_same_rows(folder: Path) -> None:
    first, again, other = (
        rows_of(Questions(EMBEDDER, str(folder), ["public"], shown=Shown(seed=seed), checked=False))[0]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_keeps_to_the_tokens_that_the_graph_gives_passages(folder: Path) -> None:
    source = Questions(
        EMBEDDER, str(folder), ["public"], shown=Shown(max_tokens=30, unanswerable=0), checked=False
    )
    assert {len(passages_in(row)) for row in rows_of(source)[0]} == {1}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"path": None}, "data.path is not set"),
        ({"path": "/nowhere"}, "No such folder"),
        ({"say": ["letter"]}, "data.say is"),
        ({"readers": ["legal"]}, "readers is a list of who may read"),
    ],
)
def test_says_what_is_wrong_with_settings(settings: dict[str, Any], why: str, folder: Path) -> None:
    with pytest.raises(UsageError, match=why):
        rows_of(Questions(EMBEDDER, **({"path": str(folder)} | settings)))


def test_has_no_rows_of_kinds_that_questions_can_not_give(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no rows of kind 'rated'. Allowed: chat, task, pair, search"):
        rows_of(Questions(EMBEDDER, str(folder)), "rated")


@pytest.mark.parametrize("unfit", [{"passages": 0}, {"unanswerable": 1.0}, {"apart": -0.1}])
def test_refuses_what_can_not_be_shown(unfit: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Allowed:"):
        Shown(**unfit)


def test_asks_a_question_several_times_with_as_many_passages_as_chance_has_it(folder: Path) -> None:
    shown = Shown(passages=4, least=1, variants=3, unanswerable=0.0)
    rows, _ = rows_of(Questions(EMBEDDER, str(folder), ["public"], shown=shown, checked=False))
    assert len(rows) == 3 * len(THINGS)
    assert {len(passages_in(row)) for row in rows} == {1, 2, 3, 4}


def test_makes_short_questions_of_passages_beside_those_that_were_asked(folder: Path) -> None:
    shown = Shown(unanswerable=0.0)
    rows, _ = rows_of(Questions(EMBEDDER, str(folder), ["public"], shown=shown, checked=False, clozes=1))
    assert len(rows) == 2 * len(THINGS)
    for row in rows[len(THINGS) :]:
        said, mark = row["completion"][:-1].split(" [")
        assert said in passages_in(row)[int(mark)]


def test_takes_the_rows_of_several_sources(folder: Path) -> None:
    plain = Questions(EMBEDDER, str(folder), ["public"], checked=False)
    again = Questions(EMBEDDER, str(folder), ["public"], shown=Shown(seed=1), checked=False)
    both, _ = rows_of(Mix({"b": plain, "a": again}))
    assert both == rows_of(again)[0] + rows_of(plain)[0]
    with pytest.raises(ConfigError, match="empty"):
        Mix({})


@pytest.mark.parametrize("settings", [{"least": 0}, {"least": 4}, {"variants": 0}])
def test_refuses_numbers_of_passages_that_can_not_be(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="Allowed"):
        Shown(**settings)  # type: ignore[arg-type]
