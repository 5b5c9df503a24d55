"""An index of several parts: what it asks of them, and what it says of where a score is from."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from markgraph.errors import ConfigError, DeniedError
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.fusion import Convex, ReciprocalRank
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Chunk, Hit, Place
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from tests.retrieval.index_suite import ANNA, BEN, IndexSuite, chunk

A, B, C = (chunk(text, source=text) for text in "abc")


@dataclass
class Scripted:
    """Finds what it was told to, and remembers how much was asked for."""

    name: str
    hits: Sequence[tuple[Chunk, float]]
    asked: list[int] = field(default_factory=list)
    stored: ClassVar[dict[str, Chunk]] = {}
    """What all parts hold."""

    def __post_init__(self) -> None:
        self.stored.update((chunk.id, chunk) for chunk, _ in self.hits)

    def get(self, ids: Sequence[str], caller: Caller) -> list[Chunk]:
        return [self.stored[id_] for id_ in ids]

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        self.asked.append(k)
        return [Hit(*hit) for hit in self.hits[:k]]


class TestReciprocalRankIndex(IndexSuite):
    def make_index(self, path: Path) -> HybridIndex:
        parts = [ChromaIndex(path / "chroma", HashEmbeddings()), WordsIndex(path / "words.sqlite")]
        return HybridIndex(parts, fusion=ReciprocalRank())


def test_says_of_each_hit_where_the_parts_saw_it() -> None:
    parts = [Scripted("dense", [(A, 0.9), (B, 0.8)]), Scripted("words", [(B, 7.0)])]
    first, second = HybridIndex(parts, fusion=Convex(0.5)).search("x", ANNA, 2)  # type: ignore[arg-type]
    assert first.chunk == B
    assert first.places == (Place("dense", 2, 0.8), Place("words", 1, 7.0))
    assert second.places == (Place("dense", 1, 0.9),)
    assert first.score == pytest.approx(0.5 * 1.8 / 1.9 + 0.5)
    assert second.score == pytest.approx(0.5)


def test_asks_for_as_many_as_are_wanted_and_at_least_for_its_depth() -> None:
    part = Scripted("dense", [(A, 0.9), (B, 0.8), (C, 0.7)])
    index = HybridIndex([part], depth=5)  # type: ignore[list-item]
    assert [len(index.search("x", ANNA, k)) for k in (1, 9)] == [1, 3]
    assert part.asked == [5, 9]


def test_the_first_hits_are_the_same_however_many_are_asked_for() -> None:
    chunks = [chunk(f"{n}", source=f"{n}") for n in range(40)]
    dense = [(each, 0.9 - 0.01 * at) for at, each in enumerate(chunks)]
    words = [(each, 20.0 - 0.5 * at) for at, each in enumerate(reversed(chunks))]
    index = HybridIndex([Scripted("dense", dense), Scripted("words", words)], depth=20)  # type: ignore[list-item]
    assert index.search("x", ANNA, 5) == index.search("x", ANNA, 20)[:5]


class Meeting(Scripted):
    """Waits until the other part is asked, too."""

    barrier = threading.Barrier(2)

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        self.barrier.wait(timeout=20)
        return super().search(query, caller, k)


def test_asks_its_parts_at_the_same_time() -> None:
    index = HybridIndex([Meeting("dense", [(A, 0.9)]), Meeting("words", [(A, 1.0)])])  # type: ignore[list-item]
    assert [hit.chunk for hit in index.search("x", ANNA, 1)] == [A]


def test_what_a_part_raises_is_raised(tmp_path: Path) -> None:
    parts = [ChromaIndex(tmp_path / "chroma", HashEmbeddings()), WordsIndex(tmp_path / "words.sqlite")]
    with pytest.raises(DeniedError):
        HybridIndex(parts).search("x", Caller(), 1)


@pytest.mark.parametrize("written", [0, 1])
def test_after_a_kill_between_the_parts_a_chunk_is_found_by_those_whom_both_let_read_it(
    written: int, tmp_path: Path
) -> None:
    parts = [ChromaIndex(tmp_path / "chroma", HashEmbeddings()), WordsIndex(tmp_path / "words.sqlite")]
    index = HybridIndex(parts)
    index.add([chunk(f"payment {n}", "g:legal", source=str(n)) for n in range(6)])
    best = [hit.chunk for hit in index.search("payment 1", ANNA, 2)]
    parts[written].permit([best[0].id], Permissions(readers=("u:ben",)))
    hits = [hit.chunk for hit in index.search("payment 1", ANNA, 2)]
    assert len(hits) == 2
    assert hits[0] == best[1]
    assert len(index.search("payment 1", ANNA, 9)) == 5
    assert index.search("payment 1", BEN, 9) == []
    index.permit([best[0].id], Permissions(readers=("u:ben",)))
    assert [hit.chunk.id for hit in index.search("payment 1", BEN, 9)] == [best[0].id]


def test_needs_a_part_and_a_hit_of_each() -> None:
    with pytest.raises(ConfigError, match=r"index\.parts is \[\]; allowed: a list of one index or more"):
        HybridIndex([])
    with pytest.raises(ConfigError, match=r"index\.depth is 0; allowed: 1 or more"):
        HybridIndex([Scripted("one", [(A, 1.0)])], depth=0)  # type: ignore[list-item]


def test_counts_what_it_scans(tmp_path: Path) -> None:
    parts = [ChromaIndex(tmp_path / "chroma", HashEmbeddings()), WordsIndex(tmp_path / "words.sqlite")]
    parts[1].add([chunk("payment")])
    assert len(HybridIndex(parts)) == len(HybridIndex(parts).scan()) == 0
