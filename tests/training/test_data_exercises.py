"""What rows are made of passages and questions, with MARK's own prompt and validator."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from markgraph.documents.types import Document
from markgraph.errors import ConfigError, EmptyIndexError, UsageError
from markgraph.ingestion.chunk import Chunker
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.nodes.validate import Validate
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.training.data.collection import Collection, question_in
from markgraph.training.data.dataset import Dataset
from markgraph.training.data.exercises import Shown
from markgraph.training.data.mix import Mix
from markgraph.training.data.prompts import passages_of
from markgraph.training.data.questions import Questions
from markgraph.training.data.templates import drafts
from markgraph.training.rows import Kind, Row
from markgraph.validation.refusals import REFUSAL

TINA = Caller("tina", ["trainer"])
EMBEDDER = HashEmbeddings()
THINGS = (
    "fridge lorry violin kettle saddle telescope blanket anchor candle hammer mirror ladder basket bottle trumpet "
    "compass lantern wagon barrel drum"
).split()
DAYS = {thing: 11 + at for at, thing in enumerate(THINGS)}
"""After how many days each thing is due back."""


def said_of(thing: str) -> str:
    return f"The {thing} must be returned within {DAYS[thing]} days. It is kept in the store for {thing}s."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a data set of a question for each thing, all answered by one sentence."""
    place = tmp_path / "things"
    place.mkdir()
    _write(place / "corpus.jsonl", [{"_id": thing, "title": "", "text": said_of(thing)} for thing in THINGS])
    asked = [
        {
            "_id": f"q-{thing}",
            "text": f"When must the {thing} be returned?",
            "answers": [f"{DAYS[thing]} days"],
        }
        for thing in THINGS
    ]
    _write(place / "queries.jsonl", asked)
    (place / "qrels.tsv").write_text("".join(f"q-{thing}\t{thing}\t1\n" for thing in THINGS), "utf-8")
    return place


def _write(file: Path, lines: Sequence[Any]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def rows_of(
    source: Any, kind: Kind = "chat", caller: Caller = TINA
) -> tuple[list[Row], list[tuple[str, ...]]]:
    left: list[tuple[str, ...]] = []
    return list(source.rows(kind, caller, lambda *each: left.append(each))), left


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
    with pytest.raises(UsageError, match="no rows of kind 'rated'. Allowed: chat, task, pair, search"):
        rows_of(Questions(EMBEDDER, str(folder)), "rated")


@pytest.mark.parametrize("unfit", [{"passages": 0}, {"unanswerable": 1.0}, {"apart": -0.1}])
def test_refuses_what_can_not_be_shown(unfit: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Allowed:"):
        Shown(**unfit)


def chunk(
    text: str, name: str = "lease", readers: tuple[str, ...] = ("public",), tenant: str = "default"
) -> Chunk:
    (made,) = Chunker()(Document(name, text, name.title()), Permissions(tenant, readers))
    return made


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("“Premises” means the rooms on the first floor.", "What does “Premises” mean?"),
        ("Payment is due within 30 days of the invoice.", "When is Payment due?"),
        ("The rent is payable in advance before the fifth working day.", "When is the rent payable?"),
        ("A notice must be given no later than three months before the end.", "When must a notice be given?"),
        ("The tenant shall not keep animals in the rooms.", "What shall the tenant not do?"),
        ("The landlord may enter the rooms after a notice.", "What may the landlord do?"),
        ("The deposit is a sum of three rents.", "What is the deposit?"),
        ("It is due within 30 days of the invoice.", None),
        ("Rooms, halls and cellars.", None),
        ("The tenant shall pay the following sums:", None),
    ],
)
def test_asks_for_what_a_sentence_says(sentence: str, question: str | None) -> None:
    assert [draft.question for draft in drafts(chunk(sentence))] == ([question] if question else [])


def test_a_word_that_the_text_writes_small_is_no_name() -> None:
    made = chunk(
        "Tenants must air the rooms daily. All tenants know it. Member States may differ on that point."
    )
    assert [draft.question for draft in drafts(made)] == [
        "What must tenants do?",
        "What may Member States do?",
    ]


@pytest.fixture
def index(tmp_path: Path) -> WordsIndex:
    """Return an index of open documents, of some for the legal group, and of another tenant's."""
    made = WordsIndex(tmp_path / "words.sqlite")
    made.add([chunk(f"{said_of(thing)} {thing.title()} fees are low.", thing) for thing in THINGS])
    made.add(
        [
            chunk(f"The {kind} clause must be sealed within 99 days.", kind, ("g:legal",))
            for kind in ("bail", "lien")
        ]
    )
    made.add([chunk("The foreign treaty must be signed within 77 days.", "treaty", tenant="other")])
    return made


def test_a_collection_gives_only_what_the_caller_may_read(index: WordsIndex) -> None:
    source = Collection(index, EMBEDDER, shown=Shown(unanswerable=0))
    rows, left = rows_of(source)
    assert {row["readers"][0] for row in rows} == {"public"}
    assert "clause" not in json.dumps(rows) + json.dumps(left)
    assert "treaty" not in json.dumps(rows) + json.dumps(left)
    lawyer = Caller("lea", ["trainer"], groups=["legal"])
    closed = [row for row in rows_of(source, caller=lawyer)[0] if row["readers"] == ["g:legal"]]
    assert {document for row in closed for document in row["documents"]} == {"bail", "lien"}


def test_a_question_that_many_passages_answer_names_its_place(tmp_path: Path) -> None:
    made = WordsIndex(tmp_path / "words.sqlite")
    made.add(
        [chunk(f"The tenant shall clean the {thing} every week.", f"House {thing}") for thing in THINGS[:4]]
    )
    rows, _ = rows_of(Collection(made, EMBEDDER, shown=Shown(unanswerable=0)), "search")
    assert {row["query"] for row in rows} == {
        f"What shall the tenant do according to “House {thing.title()}”?" for thing in THINGS[:4]
    }


def test_a_model_writes_questions_and_what_it_says_else_is_left_out(index: WordsIndex) -> None:
    asked = ["When must the wagon be returned to the store?", "As a language model I can't."]
    writer = FakeChatModel(responses=[asked[1]] * (len(THINGS) - 1) + [asked[0]])
    rows, left = rows_of(Collection(index, EMBEDDER, writer), "search")
    assert asked[0] in {row["query"] for row in rows}
    assert [reason for _, reason, _ in left].count("what the model wrote is no question") == len(THINGS) - 1
    assert "one short question" in writer.prompts[0][0].text


def test_takes_a_question_out_of_what_a_model_wrote() -> None:
    sentence = "The violin must be returned within 13 days."
    assert (
        question_in('"When must the violin be returned?" Sure!', sentence)
        == "When must the violin be returned?"
    )
    assert question_in("When is lunch served?", sentence) is None
    assert question_in("The violin must be returned.", sentence) is None


def test_an_empty_collection_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmptyIndexError, match="that you may read"):
        rows_of(Collection(WordsIndex(tmp_path / "words.sqlite"), EMBEDDER))


def test_a_data_set_is_a_folder_a_file_or_what_the_library_finds(folder: Path, tmp_path: Path) -> None:
    rows, _ = rows_of(Dataset(EMBEDDER, str(folder), readers=["public"]))
    assert rows == rows_of(Questions(EMBEDDER, str(folder), ["public"]))[0]
    file = tmp_path / "named" / "chats.jsonl"
    file.parent.mkdir()
    _write(file, [{"prompt": "Who pays?", "completion": "The tenant."}])
    (read,), _ = rows_of(Dataset(EMBEDDER, str(file), readers=["public"]))
    (found,), _ = rows_of(Dataset(EMBEDDER, f"hf:{file.parent}", readers=["public"]))
    assert found["id"] == read["id"]
    assert found["documents"] == [f"{file.parent}/train#1"]
    with pytest.raises(UsageError, match="can't be had"):
        rows_of(Dataset(EMBEDDER, f"hf:{tmp_path}/nothing", readers=["public"]))
    with pytest.raises(ConfigError, match="data.name is not set"):
        rows_of(Dataset(EMBEDDER))


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
