"""Moves a collection to another embedder while it serves.

The new generation is built beside the old one. What was ingested, permitted or removed meanwhile is caught
up with under the collection's lock, then both are compared, and only then is the note switched. Whatever
interrupts this leaves the old one serving; the next run goes on where this one stopped.

Does NOT touch the index by words: it has no vectors.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import NoReturn

from markgraph.batches import batches
from markgraph.errors import EmptyIndexError, StorageError
from markgraph.retrieval.dense import BATCH, embedded_text
from markgraph.retrieval.generations import FIRST, Generation, Store, generation_name
from markgraph.retrieval.types import Chunk, Index
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions

FOUND = 0.95
"""So many of the sampled chunks must find themselves: graphs of vectors are approximate."""
AMONG = 10

Pair = tuple[Chunk | None, Chunk | None]
"""A chunk of the old generation, and the one with the same id of the new."""


@dataclass(frozen=True)
class Report:
    """What a move has done."""

    embedder: str
    """Name of the embedder that serves now."""
    chunks: int
    written: int
    """Chunks that were embedded, in this run."""
    switched: bool
    """False where it served already."""
    dropped: int
    """Generations that were removed."""


@dataclass
class Move:
    """One collection's way to another embedder."""

    store: Store
    """The store, with the embedder to move to."""
    option: str
    """Option of `conf/embedder/` that makes it, and what of that was changed."""
    settings: dict[str, str | int | float | bool | None]
    alone: Callable[[], AbstractContextManager[None]]
    """Keeps others from writing to the collection; they may go on searching."""
    sample: int = 100
    """So many chunks must find themselves before the switch."""
    keep_old: bool = False
    begin: Callable[[int], object] = field(default=lambda _: None, repr=False)
    """Is told how many chunks there are."""
    progress: Callable[[int], object] = field(default=lambda _: None, repr=False)
    """Is told each time how many more were gone through."""

    def run(self) -> Report:
        """Build, catch up, check, switch, and drop what doesn't serve any more.

        Raises:
            EmptyIndexError: nothing was ever ingested.
            StorageError: the new generation is not what it should be, or another one was switched to.
        """
        before, there = self.store.current(), self.store.generations()
        serving = before.name if before else FIRST
        if serving not in there:
            raise EmptyIndexError("Nothing has been ingested yet. Run `markgraph ingest FOLDER` first.")
        target = self.store.embedder
        if there[serving] == target.name:
            chunks = len(self.store.at(serving, target))
            return Report(target.name, chunks, 0, switched=False, dropped=self._drop_all_but(serving))
        old = self.store.at(serving, _OnlyNamed(there[serving]))
        new = self.store.at(generation_name(target), target)
        self.begin(len(old))
        written = catch_up(old, new, self.progress)
        with self.alone():
            if self.store.current() != before:
                raise StorageError("The collection was moved to another embedder meanwhile. Run it again.")
            written += catch_up(old, new)
            check(old, new, self.sample)
            self.store.switch(self._note(before, there[serving]))
        dropped = self._drop_all_but(generation_name(target))
        return Report(target.name, len(new), written, switched=True, dropped=dropped)

    def _note(self, before: Generation | None, replaced: str) -> Generation:
        target = self.store.embedder
        names = {*(before.replaced if before else ()), replaced} - {target.name}
        return Generation(
            generation_name(target), target.name, self.option, self.settings, tuple(sorted(names))
        )

    def _drop_all_but(self, serving: str) -> int:
        if self.keep_old:
            return 0
        useless = self.store.generations().keys() - {serving}
        for generation in useless:
            self.store.drop(generation)
        return len(useless)


def catch_up(old: Index, new: Index, progress: Callable[[int], object] = lambda _: None) -> int:
    """Make `new` hold what `old` does, and return how many chunks had to be embedded."""
    written = 0
    for page in batches(_pairs(old, new), BATCH):
        missing = [mine for mine, other in page if mine and not _same_but_permissions(mine, other)]
        new.add(missing)
        new.remove([other.id for mine, other in page if other and not mine])
        changed: defaultdict[Permissions, list[str]] = defaultdict(list)
        for mine, other in page:
            if mine and other and mine != other and _same_but_permissions(mine, other):
                changed[mine.permissions].append(mine.id)
        for permissions, ids in changed.items():
            new.permit(ids, permissions)
        written += len(missing)
        progress(sum(mine is not None for mine, _ in page))
    return written


def check(old: Index, new: Index, sample: int) -> None:
    """Refuse `new` unless it holds what `old` does, permissions included, and finds what it holds.

    Raises:
        StorageError: saying what differs.
    """
    chance = random.Random(0)  # noqa: S311
    sampled: list[Chunk] = []
    count = 0
    for mine, other in _pairs(old, new):
        if mine is None or mine != other:
            _refuse("a chunk differs, or only one of them has it")
        count += 1
        if len(sampled) < sample:
            sampled.append(mine)
        elif (at := chance.randrange(count)) < sample:
            sampled[at] = mine
    if not len(old) == len(new) == count:
        _refuse(f"it counts {len(new)} chunks, the old one {len(old)}")
    readable = [chunk for chunk in sampled if chunk.readers]
    lost = [chunk for chunk in readable if not _finds_itself(new, chunk)]
    if len(lost) > (1 - FOUND) * len(readable):
        _refuse(f"{len(lost)} of {len(readable)} sampled chunks don't find themselves")


def _refuse(why: str) -> NoReturn:
    raise StorageError(
        f"The new vectors are not what they should be: {why}. The old ones go on serving. Run it again."
    )


def _finds_itself(index: Index, chunk: Chunk) -> bool:
    text = embedded_text(chunk)
    hits = index.search(text, _reader(chunk.permissions), AMONG)
    return any(embedded_text(hit.chunk) == text for hit in hits)


def _reader(permissions: Permissions) -> Caller:
    """Return somebody who may read what has these permissions."""
    kind, _, name = permissions.readers[0].partition(":")
    groups = [name] if kind == "g" else []
    subject = name if kind == "u" else "reindex"
    return Caller(subject, ("reader",), permissions.tenant, groups, permissions.classification)


def _same_but_permissions(mine: Chunk, other: Chunk | None) -> bool:
    if other is None:
        return False
    return replace(other, readers=mine.readers, classification=mine.classification) == mine


def _pairs(old: Index, new: Index) -> Iterator[Pair]:
    """Yield the chunks of both in the order of their ids, side by side."""
    left, right = _all(old), _all(new)
    mine, other = next(left, None), next(right, None)
    while mine or other:
        if other is None or (mine and mine.id < other.id):
            yield mine, None
            mine = next(left, None)
        elif mine is None or other.id < mine.id:
            yield None, other
            other = next(right, None)
        else:
            yield mine, other
            mine, other = next(left, None), next(right, None)


def _all(index: Index) -> Iterator[Chunk]:
    page = index.scan()
    while page:
        yield from page
        page = index.scan(page[-1].id)


@dataclass(frozen=True)
class _OnlyNamed:
    """Stands for the embedder of vectors that are only copied from: it is never asked."""

    name: str

    @property
    def context_tokens(self) -> int:
        self._refuse()

    def count_tokens(self, texts: list[str]) -> list[int]:  # noqa: ARG002
        self._refuse()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:  # noqa: ARG002
        self._refuse()

    def embed_query(self, text: str) -> list[float]:  # noqa: ARG002
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StorageError(f"Vectors of {self.name!r} are only copied from here; none are made.")
