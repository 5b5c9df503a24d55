"""Turns one item of a corpus into chunks that say who may read them."""

from collections.abc import Callable
from dataclasses import dataclass

from markgraph.documents.types import Document
from markgraph.errors import DocumentError, MarkError
from markgraph.ingestion.corpora import Item
from markgraph.ingestion.rules import Rules, path_within
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.types import Chunk, Vectors
from markgraph.security.permissions import Permissions


@dataclass(frozen=True)
class Prepared:
    """A document that is ready for an index."""

    source: str
    metadata: dict[str, str]
    permissions: Permissions
    chunks: tuple[Chunk, ...]
    vectors: Vectors | None = None
    """Those of its chunks, where the executor made them."""


@dataclass(frozen=True)
class Unreadable:
    """An item that could not be read."""

    source: str
    kind: str
    """The class of what went wrong: of the error's cause where there is one, such as `PdfReadError`."""
    reason: str


@dataclass(frozen=True)
class Prepare:
    """Chunks a document and stamps its permissions on each chunk. Plain data: other processes can have it."""

    chunker: Callable[[Document, Permissions], list[Chunk]]
    rules: Rules
    tenant: str
    corpus: str
    """Name of the corpus; rules see paths within it."""
    embedder: Embedder | None = None
    """What the index will embed the chunks with, unless an executor has; None where it has no vectors."""

    def __call__(self, document: Document) -> Prepared:
        """Return `document` with its chunks."""
        path = path_within(self.corpus, document.source)
        permissions = self.rules.permissions(path, document.metadata, self.tenant)
        chunks = tuple(self.chunker(document, permissions))
        return Prepared(document.source, dict(document.metadata), permissions, chunks)


def prepare_item(item: Item, prepare: Prepare) -> Prepared | Unreadable:
    """Return what becomes of `item`: whatever is wrong with one document must not stop the others.

    Raises:
        MarkError: something is wrong that is not the document's fault.
    """
    try:
        return prepare(item.load())
    except DocumentError as error:
        return Unreadable(item.source, kind_of(error), str(error))
    except MarkError:
        raise
    except Exception as error:  # a parser stumbled over a file that it should have refused
        return Unreadable(item.source, kind_of(error), f"Cannot read {item.source}: {error!r}.")


def kind_of(error: Exception) -> str:
    """Return the name of the class of what went wrong first."""
    return type(error.__cause__ or error).__name__
