"""Puts a data set's documents into an index, once: an interrupted run goes on."""

from collections.abc import Callable, Sequence
from hashlib import sha256

from markgraph.batches import batches
from markgraph.documents.types import Document
from markgraph.evaluation.beir import Dataset, Text
from markgraph.ingestion.chunk import Chunker
from markgraph.retrieval.types import Chunk, Index
from markgraph.security.caller import PUBLIC, Caller
from markgraph.security.permissions import Permissions

BATCH = 64


def collection_name(dataset: Dataset, settings: str) -> str:
    """Return the name of the collection that holds the documents, cut and embedded as `settings` say."""
    mark = sha256(f"{dataset.fingerprint} {settings}".encode()).hexdigest()[:16]
    return f"evaluation-{mark}"


def chunks_of(dataset: Dataset, chunker: Chunker, caller: Caller) -> list[Chunk]:
    """Cut the documents into chunks that everybody in the caller's tenant may read; sources are their ids."""
    permissions = Permissions(caller.tenant, (PUBLIC,))
    return [chunk for document in dataset.corpus for chunk in chunker(_document(document), permissions)]


def fill(index: Index, chunks: Sequence[Chunk], caller: Caller, progress: Callable[[int], object]) -> None:
    """Add those of `chunks` that `index` lacks; `progress` is told how many more are there."""
    for batch in batches(chunks, BATCH):
        there = {chunk.id for chunk in index.get([chunk.id for chunk in batch], caller)}
        if missing := [chunk for chunk in batch if chunk.id not in there]:
            index.add(missing)
        progress(len(batch))


def _document(document: Text) -> Document:
    return Document(document.id, document.text if document.text.strip() else document.title, document.title)
