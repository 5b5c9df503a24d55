"""The conformance suite of the `Executor` port: subclass it and give `make_executor`."""

from functools import partial
from pathlib import Path

import pytest

from markgraph.documents.types import Document
from markgraph.errors import DocumentError, StorageError
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.corpora import Folder, Item
from markgraph.ingestion.executor import Executor
from markgraph.ingestion.prepare import Prepare, Prepared, Unreadable
from markgraph.ingestion.rules import Rules
from markgraph.security.permissions import Permissions

RULES = Rules.model_validate(
    {
        "rules": [{"path": "hr/**", "readers": ["g:hr"], "classification": "restricted"}],
        "default": {"readers": ["public"]},
    }
)


def give(document: Document) -> Document:
    """Load an item that is no file."""
    return document


def fail(error: Exception) -> Document:
    """Load an item that can't be read."""
    raise error


class ExecutorSuite:
    """What every executor must do."""

    def make_executor(self) -> Executor:
        """Return the executor under test."""
        raise NotImplementedError  # abstract

    @pytest.fixture
    def executor(self) -> Executor:
        return self.make_executor()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "hr").mkdir()
        for number in range(40):
            name = f"hr/{number:02}.md" if number % 2 else f"{number:02}.md"
            (tmp_path / name).write_text(
                f"# Title {number}\n\n" + f"Sentence {number} of it. " * 10 * (number + 1)
            )
        return tmp_path

    def prepare(self, folder: Path) -> Prepare:
        return Prepare(Chunker(), RULES, "acme", folder.as_posix())

    def test_yields_each_file_in_order_as_it_would_be_prepared_here(
        self, executor: Executor, folder: Path
    ) -> None:
        prepare, items = self.prepare(folder), list(Folder(folder).items())
        outcomes = list(executor.run(items, prepare))
        assert outcomes == [prepare(item.load()) for item in items]
        assert len(outcomes) == 40

    def test_chunks_have_the_permissions_of_their_document(self, executor: Executor, folder: Path) -> None:
        for each in executor.run(list(Folder(folder).items()), self.prepare(folder)):
            assert isinstance(each, Prepared)
            secret = "/hr/" in each.source
            expected = Permissions("acme", ("g:hr",), 3) if secret else Permissions("acme", ("public",), 0)
            assert each.permissions == expected
            assert {chunk.permissions for chunk in each.chunks} == {expected}

    def test_takes_documents_that_are_no_files(self, executor: Executor, tmp_path: Path) -> None:
        documents = [Document(f"row#{at}", f"Text {at}.", "Row", metadata={"at": str(at)}) for at in range(5)]
        items = [Item(each.source, "f", partial(give, each)) for each in documents]
        prepare = self.prepare(tmp_path)
        assert list(executor.run(items, prepare)) == [prepare(each) for each in documents]

    def test_what_cannot_be_read_takes_its_place_among_the_others(
        self, executor: Executor, folder: Path
    ) -> None:
        (folder / "05.md").write_bytes(b"\0\0binary")
        items = list(Folder(folder).items())
        items.insert(3, Item("bad", "f", partial(fail, DocumentError("It is damaged."))))
        items.insert(7, Item("odd", "f", partial(fail, KeyError("surprise"))))
        outcomes = list(executor.run(items, self.prepare(folder)))
        assert [each.source for each in outcomes] == [item.source for item in items]
        broken = {each.source: each for each in outcomes if isinstance(each, Unreadable)}
        assert len(broken) == 3
        assert broken["bad"] == Unreadable("bad", "DocumentError", "It is damaged.")
        assert broken["odd"].kind == "KeyError"
        assert "surprise" in broken["odd"].reason

    def test_what_is_not_a_documents_fault_stops_everything(self, executor: Executor, tmp_path: Path) -> None:
        item = Item("a", "f", partial(fail, StorageError("The disk is full.")))
        with pytest.raises(StorageError, match="full"):
            list(executor.run([item], self.prepare(tmp_path)))

    def test_may_be_closed_early_and_run_again(self, executor: Executor, folder: Path) -> None:
        items, prepare = list(Folder(folder).items()), self.prepare(folder)
        outcomes = executor.run(items, prepare)
        first = next(outcomes)
        outcomes.close()
        assert next(executor.run(items, prepare)) == first

    def test_nothing_is_done_with_nothing(self, executor: Executor, tmp_path: Path) -> None:
        assert list(executor.run([], self.prepare(tmp_path))) == []
