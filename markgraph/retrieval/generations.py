"""Keeps several sets of vectors of one collection, of which one serves; switching takes one step.

A store (Chroma's folder, its server, a schema in Postgres) holds generations: the same chunks, embedded by
one embedder each. A note in the store says which serves, and how its embedder is made: by the name of an
option of `conf/embedder/`, never by a class. Without a note the first generation serves, named "".
"""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Protocol, Self, TypeVar

from markgraph.errors import StorageError
from markgraph.retrieval.dense import Embedder, check_built_with
from markgraph.retrieval.types import Chunk, Hit, Index, Vectors
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions

FIRST = ""
T = TypeVar("T")


@dataclass(frozen=True)
class Generation:
    """What the note in a store says."""

    name: str
    embedder: str
    """Name of the embedder that made the vectors."""
    option: str
    """Option of `conf/embedder/` that makes it."""
    settings: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    """Settings of that option that were changed."""
    replaced: tuple[str, ...] = ()
    """Embedders that served before: a config that still names one of them goes on working."""

    def to_json(self) -> str:
        """Return it as a JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str, place: str) -> Self:
        """Return what `to_json` was made from.

        Raises:
            StorageError: it wasn't; `place` says where it stands.
        """
        try:
            fields = json.loads(text)
            read = cls(**fields | {"replaced": tuple(fields["replaced"])})
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(f"What {place} notes of its embedder can't be read: {error}.") from error
        if not re.fullmatch(r"[0-9a-f]*", read.name):
            raise StorageError(f"{place} notes a generation {read.name!r}, which is none of ours.")
        return read


def generation_name(embedder: Embedder) -> str:
    """Return the name of the generation that `embedder` makes: an interrupted one is found again."""
    return sha256(embedder.name.encode()).hexdigest()[:12]


class Store(Index, Protocol):
    """An index over one generation of a store, which can tell of the others."""

    embedder: Embedder

    def at(self, generation: str, embedder: Embedder) -> "Store":
        """Return an index over another generation of the same store."""

    def current(self) -> Generation | None:
        """Return the note; None where nothing was ever switched."""

    def switch(self, to: Generation) -> None:
        """Write the note, whole or not at all."""

    def generations(self) -> dict[str, str]:
        """Return the generations that are there, and the names of the embedders that made them."""

    def drop(self, generation: str) -> None:
        """Remove a generation; one that isn't there is ignored."""

    def reseal(self, progress: Callable[[int], object] = bool) -> int:
        """Seal what isn't, or is under an old key, and return how many chunks that were; can be repeated."""


@dataclass
class SwitchableIndex:
    """Passes everything on to the generation that serves, and notices at each call when that has changed."""

    index: Store
    """The store, with the embedder that the config names."""
    make_embedder: Callable[[str, Mapping[str, Any]], Embedder]
    """Makes an embedder of an option's name and settings: `markgraph.build.make_embedder`."""
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)
    _serving: tuple[Generation, Store] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Return what results call it."""
        return self.index.name

    @property
    def embedder(self) -> Embedder | None:
        """Return what made the vectors that serve now."""
        return self._now().embedder

    @property
    def stores(self) -> tuple[str, ...]:
        """Return what is written to; all vectors of a collection are in one store."""
        return self.index.stores

    def add(self, chunks: Sequence[Chunk], vectors: Vectors | None = None) -> None:
        """Store `chunks`; one that is there already is replaced, with its permissions."""
        self._do(lambda index: index.add(chunks, vectors))

    def remove(self, ids: Sequence[str]) -> None:
        """Forget the chunks with these ids; unknown ids are ignored."""
        self._do(lambda index: index.remove(ids))

    def permit(self, ids: Sequence[str], permissions: Permissions) -> None:
        """Change who may read the chunks with these ids, from the next search on; unknown ids are ignored."""
        self._do(lambda index: index.permit(ids, permissions))

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        """Return at most `k` chunks that `caller` may read, best first."""
        return self._do(lambda index: index.search(query, caller, k))

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        """Return those of the chunks with these ids that `caller` may read, in the order of `ids`."""
        return self._do(lambda index: index.get(ids, caller))

    def scan(self, after: str = "", limit: int = 1000) -> list[Chunk]:
        """Return the next chunks in the order of their ids, whoever may read them."""
        return self._do(lambda index: index.scan(after, limit))

    def reseal(self, progress: Callable[[int], object] = bool) -> int:
        """Seal what isn't, or is under an old key, and return how many chunks that were.

        Other generations than the one that serves are dropped: they can be made again, and their embedders
        may not be at hand to seal them.
        """
        generation = self.index.current()
        for name in self.index.generations():
            if name != (generation.name if generation else FIRST):
                self.index.drop(name)
        serving = self._now()
        return serving.reseal(progress)

    def __len__(self) -> int:
        """Return how many chunks are stored, readable or not."""
        return self._do(len)

    def _do(self, act: Callable[[Index], T]) -> T:
        """Do `act` to what serves; once more if that was switched meanwhile, so that nothing is lost."""
        while True:
            serving = self._now()
            try:
                done = act(serving)
            except StorageError:
                if self._now() is serving:
                    raise
                continue
            if self._now() is serving:
                return done

    def _now(self) -> Store:
        generation = self.index.current()
        if generation is None:
            return self.index
        with self._lock:  # an embedder takes memory, and seconds to be made: one is enough
            if self._serving is None or self._serving[0] != generation:
                self._serving = generation, self.index.at(generation.name, self._embedder(generation))
            return self._serving[1]

    def _embedder(self, generation: Generation) -> Embedder:
        """Return the config's embedder, or the one that it was replaced by."""
        given = self.index.embedder
        if given.name not in generation.replaced:
            check_built_with("this collection", generation.embedder, given)
        if given.name == generation.embedder:
            return given
        made = self.make_embedder(generation.option, generation.settings)
        check_built_with("this collection", generation.embedder, made)
        return made
