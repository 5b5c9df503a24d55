"""Whatever happened before, interruptions included, an ingestion ends with what a fresh one would give."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.ingestion.corpora import Folder
from markgraph.ingestion.ledger import Ledger
from markgraph.ingestion.rules import Rules
from markgraph.retrieval.types import Chunk, Vectors
from markgraph.retrieval.words import WordsIndex
from markgraph.security.permissions import Permissions
from tests.graphs.ingesting import PARSER, WRITER, build

NAMES = ("a.md", "hr/b.md", "hr/c.md", "d.txt")
TEXTS = ("# One\n\nfirst\n", "# One\n\nfirst\n\n# Two\n\nsecond\n", "# Two\n\nsecond\n\n# Three\n\nthird\n")
BROKEN = "\0\0binary"
RULES = (
    Rules.model_validate({"default": {"readers": ["public"]}}),
    Rules.model_validate(
        {"rules": [{"path": "hr/**", "readers": ["g:hr"]}], "default": {"readers": ["public"]}}
    ),
    Rules.model_validate({"rules": [{"path": "*.md", "readers": ["u:ada"], "classification": "internal"}]}),
)


@dataclass
class Mortal:
    """An index whose process dies before or after one of the things done to it."""

    inner: WordsIndex
    left: int
    after: bool
    embedder = None

    def _do(self, name: str, *arguments: Any) -> None:
        dies = self.left == 0
        self.left -= 1
        if dies and not self.after:
            raise KeyboardInterrupt
        getattr(self.inner, name)(*arguments)
        if dies:
            raise KeyboardInterrupt

    @property
    def stores(self) -> tuple[str, ...]:
        return self.inner.stores

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:
        self._do("add", chunks, vectors)

    def remove(self, ids: Sequence[str]) -> None:
        self._do("remove", ids)

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        self._do("permit", ids, permissions)


def ingest(place: Path, index: Any, rules: Rules, ledger: str) -> dict[str, Any]:
    corpus = Folder(place / "files", PARSER)
    graph = build(corpus=corpus, index=index, ledger=Ledger(place / ledger), rules=rules)
    return graph.invoke({"limit": None}, context=WRITER)


def contents(index: WordsIndex) -> dict[str, Chunk]:
    return {chunk.id: chunk for chunk in index.scan()}


CHANGES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([*TEXTS, BROKEN, None]), max_size=4)
RUNS = st.tuples(CHANGES, st.integers(0, 2), st.integers(0, 8), st.booleans())


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(RUNS, min_size=1, max_size=4), st.integers(0, 2))
def test_any_history_ends_like_a_fresh_ingestion(runs: list[Any], last: int) -> None:
    with TemporaryDirectory() as name:
        place = Path(name)
        (place / "files" / "hr").mkdir(parents=True)
        (place / "files" / "kept.md").write_text("# Kept\n\nthis one stays\n")
        index = WordsIndex(place / "words.sqlite")
        for changes, rules, left, after in runs:
            change(place / "files", changes)
            with suppress(KeyboardInterrupt):
                ingest(place, Mortal(index, left, after), RULES[rules], "ledger.sqlite")
        # Of a broken file the last good version would stay, which a fresh ingestion can't know.
        change(place / "files", {each: None for each in NAMES if is_broken(place / "files" / each)})
        report = ingest(place, index, RULES[last], "ledger.sqlite")
        fresh = WordsIndex(place / "fresh.sqlite")
        whole = ingest(place, fresh, RULES[last], "fresh-ledger.sqlite")
        assert contents(index) == contents(fresh)
        assert report["added"] + report["changed"] + report["unchanged"] == whole["added"]
        assert report["unreadable"] == whole["unreadable"]


def change(folder: Path, changes: dict[str, str | None]) -> None:
    """Write files, and remove those whose text is None."""
    for name, text in changes.items():
        if text is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_text(text)


def is_broken(file: Path) -> bool:
    return file.exists() and file.read_text() == BROKEN
