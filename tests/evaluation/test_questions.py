"""Questions are the same for everybody who is asked them, and hold what they are said to hold."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from markgraph.errors import ConfigError, SealError, UsageError
from markgraph.evaluation.questions import Questions
from markgraph.retrieval.bodies import to_text
from markgraph.security.sealing.keyring import Keyring
from tests.evaluation.conftest import write_lines

TOPICS = [f"{what} {noun}" for what in ("old", "new", "red", "blue") for noun in ("mill", "bridge", "tower")]
HER = {"id": "x", "text": "Her."}
GOLD = {"question": "When?", "answers": ["now"], "passages": ["Now.", "Then."]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return twelve documents, with a question about each."""
    folder = tmp_path / "places"
    folder.mkdir()
    write_lines(
        folder / "corpus.jsonl",
        [{"_id": f"d{n}", "text": f"The {topic} was built in {1800 + n}."} for n, topic in enumerate(TOPICS)],
    )
    write_lines(
        folder / "queries.jsonl",
        [
            {"_id": f"q{n}", "text": f"When was the {topic} built?", "answers": [str(1800 + n)]}
            for n, topic in enumerate(TOPICS)
        ],
    )
    (folder / "qrels.tsv").write_text("".join(f"q{n}\td{n}\t1\n" for n in range(len(TOPICS))), "utf-8")
    return folder


def test_the_passages_hold_the_answer_once_and_look_alike(folder: Path) -> None:
    asked = Questions(str(folder), passages=3, unanswerable=0).by_id
    assert len(asked) == len(TOPICS)
    places = set()
    for question in asked.values():
        ids = [passage.id for passage in question.passages]
        assert len(set(ids)) == 3
        [right] = [at for at, passage in enumerate(question.passages) if question.answers[0] in passage.text]
        assert question.gold == {ids[right]}
        places.add(right)
        nouns = question.text.split()[3:5]
        assert all(any(noun in passage.text for noun in nouns) for passage in question.passages)
    assert places == {0, 1, 2}, "the place of the right one gives nothing away"


def test_one_passage_is_the_one_with_the_answer(folder: Path) -> None:
    for question in Questions(str(folder), passages=1, unanswerable=0).by_id.values():
        assert {passage.id for passage in question.passages} == question.gold


def test_what_is_withheld_is_shown_to_nobody_and_cant_be_answered(folder: Path) -> None:
    questions = Questions(str(folder), passages=3, unanswerable=0.4)
    assert questions.dataset
    there = {document.id for document in questions.dataset.corpus}
    assert 0 < len(there) < len(TOPICS)
    for question in questions.by_id.values():
        assert {passage.id for passage in question.passages} <= there
        assert bool(question.answers) is bool(question.gold) is (question.id.replace("q", "d") in there)
        assert question.passages


def test_the_same_seed_asks_the_same_and_another_seed_something_else(folder: Path) -> None:
    first, again = Questions(str(folder)), Questions(str(folder))
    assert list(first.by_id.items()) == list(again.by_id.items())
    assert first.fingerprint == again.fingerprint != Questions(str(folder), seed=1).fingerprint


def test_fewer_questions_are_the_first_of_more(folder: Path) -> None:
    many, few = Questions(str(folder), limit=8), Questions(str(folder), limit=3)
    assert list(few.by_id.items()) == list(many.by_id.items())[:3]


def test_leaves_out_what_a_training_has_learned_from(folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "train.jsonl"
    write_lines(rows, [{"documents": ["d0", "d5"]}, {"documents": ["d7"]}])
    asked = Questions(str(folder), unanswerable=0, unseen_by=str(rows)).by_id
    assert len(asked) == len(TOPICS) - 3
    assert not {"q0", "q5", "q7"} & asked.keys()
    # What is withheld was learned from all the same.
    assert not {"q0", "q5", "q7"} & Questions(str(folder), unanswerable=0.9, unseen_by=str(rows)).by_id.keys()


def test_reads_lines_with_passages_or_without(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    write_lines(
        file,
        [
            {"id": "a", "question": "When?", "answers": ["1807"], "passages": ["In 1807.", "In 1801."]},
            {"id": "b", "question": "Who?", "answers": ["she"], "passages": ["He.", HER], "gold": [2]},
            {"id": "c", "question": "Why?", "answers": [], "passages": ["So."]},
            {"question": "Where?", "answers": ["here"]},
        ],
    )
    asked = Questions(str(file)).by_id
    assert {id_: each.gold for id_, each in asked.items()} == {"a": {"1"}, "b": {"x"}, "c": set(), "4": set()}
    assert [passage.text for passage in asked["a"].passages] == ["In 1807.", "In 1801."]
    assert asked["4"].passages == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "When?"}], "line 1: expected a question and a list of answers; got question"),
        ([{"question": "When?", "answers": "now"}], "line 1: expected a question and a list of answers"),
        ([{"question": "When?", "answers": ["now"], "passages": [1]}], "line 1: passage 1 has no text"),
        ([GOLD | {"passages": "So."}], r"line 1: expected a list of passages; got 'So\.'"),
        ([GOLD | {"gold": ["1"]}], r"line 1: gold is \['1'\]\. Allowed: whole numbers from 1 to 2"),
        ([GOLD | {"gold": [0]}], r"line 1: gold is \[0\]\. Allowed: whole numbers from 1 to 2"),
        ([GOLD, GOLD | {"gold": 1}], r"line 2: gold is 1\. Allowed: whole numbers"),
        ([GOLD | {"passages": [], "gold": [1]}], "line 1: gold is .*none, for it has no passages"),
        ([GOLD | {"id": 7}, GOLD | {"id": "7"}], "line 2: the id '7' is that of line 1, too"),
        ([GOLD | {"id": "2"}, GOLD], "line 2: the id '2' is that of line 1, too"),
        ([], "has no question to ask"),
    ],
)
def test_wrong_lines_are_explained(
    tmp_path: Path, rows: Iterable[Mapping[str, object]], message: str
) -> None:
    write_lines(tmp_path / "asked.jsonl", rows)
    with pytest.raises(UsageError, match=message):
        _ = Questions(str(tmp_path / "asked.jsonl")).by_id


def test_wrong_settings_are_explained(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UsageError, match="Say what to ask"):
        _ = Questions(None).by_id
    with pytest.raises(UsageError, match="There is nothing at dataset=/nowhere"):
        _ = Questions("/nowhere").by_id
    with pytest.raises(ConfigError, match="unanswerable is 1"):
        Questions("x", unanswerable=1)
    with pytest.raises(ConfigError, match="passages is 0"):
        Questions("x", passages=0)
    write_lines(folder / "queries.jsonl", [{"_id": f"q{n}", "text": "When?"} for n in range(len(TOPICS))])
    with pytest.raises(UsageError, match="has no answers"):
        _ = Questions(str(folder)).by_id


def test_sealed_rows_of_a_training_are_refused(folder: Path, tmp_path: Path) -> None:
    keyring = Keyring(tmp_path / "keyring.json", tmp_path / "keys.sqlite")
    keyring.rotate()
    rows = tmp_path / "train.jsonl"
    rows.write_text(to_text(keyring.seal("acme", ("training row",), b"{}")) + "\n")
    with pytest.raises(SealError, match=r"are sealed\. Name a file in clear"):
        _ = Questions(str(folder), unanswerable=0, unseen_by=str(rows)).by_id
