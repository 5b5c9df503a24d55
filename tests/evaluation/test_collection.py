"""A data set's documents in an index: once, and on from where it was interrupted."""

from collections.abc import Sequence
from pathlib import Path

from markgraph.evaluation.beir import load_dataset
from markgraph.evaluation.collection import chunks_of, collection_name, fill
from markgraph.ingestion.chunk import Chunker
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from tests.evaluation.conftest import CORPUS, write_lines


class Recording(WordsIndex):
    """Remembers how many chunks it was given."""

    given = 0

    def add(self, chunks: Sequence[Chunk]) -> None:
        self.given += len(chunks)
        super().add(chunks)


def test_adds_what_is_missing_and_nothing_twice(dataset: Path, tmp_path: Path, reader: Caller) -> None:
    chunks = chunks_of(load_dataset(dataset), Chunker(), reader)
    index = Recording(tmp_path / "words.sqlite")
    index.add(chunks[:1])
    told: list[int] = []
    for _ in range(2):
        fill(index, chunks, reader, told.append)
    assert index.given == len(index) == len(chunks) == 4
    assert sum(told) == 2 * len(chunks)


def test_chunks_are_from_their_document_and_readable_within_the_tenant(dataset: Path, reader: Caller) -> None:
    chunks = chunks_of(load_dataset(dataset), Chunker(), reader)
    assert {chunk.source: chunk.text for chunk in chunks} == {id_: text for id_, (_, text) in CORPUS.items()}
    assert {(chunk.tenant, chunk.readers) for chunk in chunks} == {(reader.tenant, ("public",))}
    assert chunks[0].title == "Terms"


def test_a_document_that_has_a_title_only_can_be_found(dataset: Path, reader: Caller) -> None:
    write_lines(dataset / "corpus.jsonl", [{"_id": "pay", "title": "Payment", "text": " "}])
    assert [chunk.text for chunk in chunks_of(load_dataset(dataset), Chunker(), reader)] == ["Payment"]


def test_other_documents_or_settings_are_another_collection(dataset: Path) -> None:
    one = load_dataset(dataset)
    name = collection_name(one, "minilm 900")
    assert collection_name(load_dataset(dataset), "minilm 900") == name
    assert collection_name(one, "minilm 600") != name
    write_lines(dataset / "corpus.jsonl", [{"_id": "pay", "text": "other"}])
    assert collection_name(load_dataset(dataset), "minilm 900") != name
