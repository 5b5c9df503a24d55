"""What rows are made of a collection's passages, and of data sets by their name."""

import json
from pathlib import Path

import pytest

from markgraph.documents.types import Document
from markgraph.errors import ConfigError, EmptyIndexError, UsageError
from markgraph.ingestion.chunk import Chunker
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.training.data.collection import Collection, question_in
from markgraph.training.data.dataset import Dataset
from markgraph.training.data.exercises import Shown
from markgraph.training.data.questions import Questions
from markgraph.training.data.templates import drafts
from tests.training.things import EMBEDDER, THINGS, rows_of, said_of, things, write


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


def test_a_question_that_several_passages_answer_is_left_out(tmp_path: Path) -> None:
    made = WordsIndex(tmp_path / "words.sqlite")
    made.add([chunk(f"The tenant shall clean the {thing} every week.", thing) for thing in THINGS[:4]])
    made.add([chunk("The landlord shall not enter the cellar.", "cellar")])
    rows, left = rows_of(Collection(made, EMBEDDER, shown=Shown(unanswerable=0)), "search")
    assert [row["query"] for row in rows] == ["What shall the landlord not do?"]
    assert [reason for _, reason, _ in left] == ["several passages answer the question"] * 4


def test_a_model_writes_questions_and_what_it_says_else_is_left_out(index: WordsIndex) -> None:
    asked = ["When must the wagon be returned to the store?", "As a language model I can't."]
    writer = FakeChatModel(responses=[asked[1]] * (len(THINGS) - 1) + [asked[0]])
    rows, left = rows_of(Collection(index, EMBEDDER, writer), "search")
    assert asked[0] in {row["query"] for row in rows}
    assert [reason for _, reason, _ in left].count("what the model wrote is no question") == len(THINGS) - 1
    assert "one short question" in writer.prompts[0][0].text


def test_asks_for_a_span_of_a_passage_and_answers_as_shortly_as_the_validator_allows(
    index: WordsIndex,
) -> None:
    source = Collection(index, EMBEDDER, clozes=2, shown=Shown(unanswerable=0))
    by_template, _ = rows_of(Collection(index, EMBEDDER, shown=Shown(unanswerable=0)))
    rows, _ = rows_of(source)
    assert len(rows) > len(by_template)
    spans = [row for row in rows if row["id"] not in {each["id"] for each in by_template}]
    assert any(len(row["completion"].split()) < 8 for row in spans)


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


def test_a_data_set_is_a_folder_a_file_or_what_the_library_finds(tmp_path: Path) -> None:
    folder = things(tmp_path / "things")
    rows, _ = rows_of(Dataset(EMBEDDER, str(folder), readers=["public"]))
    assert rows == rows_of(Questions(EMBEDDER, str(folder), ["public"]))[0]
    file = tmp_path / "named" / "chats.jsonl"
    file.parent.mkdir()
    write(file, [{"prompt": "Who pays?", "completion": "The tenant."}])
    (read,), _ = rows_of(Dataset(EMBEDDER, str(file), readers=["public"]))
    (found,), _ = rows_of(Dataset(EMBEDDER, f"hf:{file.parent}", readers=["public"]))
    assert found["id"] == read["id"]
    assert found["documents"] == [f"{file.parent}/train#1"]
    with pytest.raises(UsageError, match="can't be had"):
        rows_of(Dataset(EMBEDDER, f"hf:{tmp_path}/nothing", readers=["public"]))
    with pytest.raises(ConfigError, match=r"data.name is not set"):
        rows_of(Dataset(EMBEDDER))
