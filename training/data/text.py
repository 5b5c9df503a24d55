"""Takes the texts of a corpus, as ingestion reads it, to go on from: what a model is pretrained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markgraph.errors import DocumentError
from markgraph.ingestion.corpora import Corpus
from markgraph.security.caller import Caller
from markgraph.security.classification import CLASSIFICATIONS, level_of
from markgraph.security.permissions import Permissions, check_readers
from markgraph.training.data.source import LeaveOut, refuse_kind, row_of
from markgraph.training.rows import Kind, Row

UNREADABLE = "can't be read, or holds no text"


@dataclass(frozen=True)
class Text:
    """One row for each document: its title, an empty line, and its text."""

    corpus: Corpus
    readers: Sequence[str] | None = None
    """Who may read the documents, and so use what learns from them; None: nobody is known to."""
    classification: str = CLASSIFICATIONS[0]

    def __post_init__(self) -> None:
        if self.readers is not None:
            check_readers(self.readers)
        level_of(self.classification)

    def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterator[Row]:
        """Yield the documents in the corpus's order.

        Raises:
            UsageError: something else than text is asked for, or there is no such corpus, or nothing in it.
        """
        refuse_kind(kind, ("text",), self.corpus.name)
        permissions = Permissions(caller.tenant, tuple(self.readers or ()), level_of(self.classification))
        for item in self.corpus.items():
            try:
                document = item.load()
            except DocumentError:
                leave_out(self.corpus.name, UNREADABLE, item.source)
                continue
            text = f"{document.title}\n\n{document.text}"
            yield row_of("text", {"text": text}, self.corpus.name, [document.source], permissions)
