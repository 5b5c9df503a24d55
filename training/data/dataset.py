"""Takes rows from a data set by its name: a folder, a file, or one that the library `datasets` finds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from markgraph.errors import ConfigError, MissingExtraError, UsageError
from markgraph.security.caller import Caller
from markgraph.security.classification import CLASSIFICATIONS
from markgraph.training.data.exercises import Shown
from markgraph.training.data.jsonl import Jsonl
from markgraph.training.data.questions import Questions
from markgraph.training.data.source import LeaveOut
from markgraph.training.rows import Kind, Row

HUB = "hf:"


@dataclass(frozen=True)
class Dataset:
    """Reads a folder of questions as `Questions` does, and all else, record by record, as `Jsonl` does."""

    embedder: Embeddings
    name: str | None = None
    """A folder in BEIR's layout, a file of records, or `hf:NAME` for the library `datasets`."""
    split: str = "train"
    """The part of a named data set."""
    columns: Mapping[str, str] = field(default_factory=dict)
    readers: Sequence[str] | None = None
    classification: str = CLASSIFICATIONS[0]
    shown: Shown = field(default_factory=Shown)

    def rows(self, kind: Kind, caller: Caller, leave_out: LeaveOut) -> Iterator[Row]:
        """Yield the rows of `kind` in the data set's order.

        Raises:
            ConfigError: no name is set.
            UsageError: there is no such data set, it can't be fetched, or it holds nothing to learn from.
        """
        if self.name is None:
            raise ConfigError("data.name is not set. Set data.name=FOLDER, =FILE or =hf:NAME.")
        place = Path(self.name).expanduser()
        if place.is_dir():
            asked = Questions(self.embedder, self.name, self.readers, self.classification, self.shown)
            return asked.rows(kind, caller, leave_out)
        found = Jsonl(self.name, self.columns, self.readers, self.classification)
        if not self.name.startswith(HUB):
            return found.rows(kind, caller, leave_out)
        name = self.name.removeprefix(HUB)
        return found.from_records(self._fetched(name), name, kind, caller, leave_out)

    def _fetched(self, name: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"{self.name} needs the library datasets. Install it: pip install 'markgraph[train]'."
            ) from error
        try:
            found = datasets.load_dataset(name, split=self.split)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise UsageError(
                f"The data set {name!r}, part {self.split!r}, can't be had: {error}\nCheck the name and the "
                "network, or fetch it elsewhere and give its folder or file: data.name=PATH."
            ) from error
        for number, record in enumerate(found, start=1):
            yield f"{name}/{self.split}#{number}", dict(record)
