"""Moves a collection to another embedder, and says on stdout how far it is: to be killed meanwhile."""

import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.generations import Generation
from markgraph.retrieval.pgvector import PgVectorIndex
from markgraph.retrieval.reindex import Move


def say(what: object) -> None:
    """Say it, and leave a moment in which to be killed."""
    print(what, flush=True)
    time.sleep(random.uniform(0, 0.1))


class Telling:
    """A store that says what is done to it."""

    def switch(self, to: Generation) -> None:
        say("switch")
        super().switch(to)  # type: ignore[misc]
        say("switched")

    def drop(self, generation: str) -> None:
        say("drop")
        super().drop(generation)  # type: ignore[misc]
        say("dropped")


class TellingChroma(Telling, ChromaIndex):
    """Chroma."""


class TellingPgVector(Telling, PgVectorIndex):
    """Postgres."""


@contextmanager
def alone() -> Iterator[None]:
    """Say that others are kept out."""
    say("alone")
    yield


def main(kind: str, *place: str) -> None:
    """Move what is at `place`."""
    embedder = HashEmbeddings(dimensions=64)
    if kind == "chroma":
        store: Any = TellingChroma(Path(place[0]), embedder)
    else:
        store = TellingPgVector(embedder, *place)
    say(Move(store, "hash", {"dimensions": 64}, alone, progress=lambda _: say("page")).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
