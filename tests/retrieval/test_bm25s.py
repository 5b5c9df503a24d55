"""The index over bm25s: what it finds, and that it agrees with bm25s, rank-bm25, and brute force."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import bm25s
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from markgraph.retrieval.bm25s import Bm25sIndex
from markgraph.retrieval.types import Chunk, Index, permitted_as
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions, may_read
from markgraph.text import words
from tests.retrieval.index_suite import ANNA, BEN, IndexSuite, chunk, found

VOCABULARY = "apple banana cherry damson elder fig grape hazel ivy juniper kiwi lemon mango nut olive".split()


class TestBm25sIndex(IndexSuite):
    """Everything stays in memory."""

    def make_index(self, path: Path) -> Index:
        return Bm25sIndex(path / "words.sqlite")


class TestCompactedBm25sIndex(IndexSuite):
    """Everything is in a base: each write makes a new one."""

    def make_index(self, path: Path) -> Index:
        return Bm25sIndex(path / "words.sqlite", share=0, tail=0)


class TestHalfCompactedBm25sIndex(IndexSuite):
    """Some is in a base, and some in memory."""

    def make_index(self, path: Path) -> Index:
        return Bm25sIndex(path / "words.sqlite", share=0, tail=2)


def corpus(count: int, seed: int = 0) -> list[Chunk]:
    """Return chunks with common and rare words, for different readers."""
    dice = random.Random(seed)
    weights = [1 / (n + 1) for n in range(len(VOCABULARY))]
    readers = [("public",), ("g:legal",), ("u:ben",), ("g:sales", "u:ben")]
    return [
        replace(
            chunk(
                " ".join(dice.choices(VOCABULARY, weights, k=dice.randint(1, 30))),
                *dice.choice(readers),
                source=f"s{n}",
            ),
            title="",
            classification=dice.choice([0, 0, 0, 1]),
        )
        for n in range(count)
    ]


def bases(index: Bm25sIndex) -> set[str]:
    """Return the names of the bases that are on the disk."""
    return {path.parent.name for path in index.folder.rglob("positions.npy")}


@pytest.mark.parametrize("tail", [0, 70, 1000])
@pytest.mark.parametrize("caller", [ANNA, BEN, Caller("eve", ("reader",), groups=("sales",), clearance=1)])
def test_scores_are_those_of_bm25s_over_what_the_caller_may_read(
    tmp_path: Path, tail: int, caller: Caller
) -> None:
    index, chunks = Bm25sIndex(tmp_path / "words.sqlite", share=0, tail=tail), corpus(200)
    for start in range(0, 200, 25):
        index.add(chunks[start : start + 25])
    index.remove([each.id for each in chunks[::7]])
    readable = [c for n, c in enumerate(chunks) if n % 7 and may_read(caller, c.permissions)]
    plain = bm25s.BM25(method="lucene")
    plain.index([words(each.text) for each in readable], show_progress=False)
    for query in ("apple", "olive", "apple nut olive", "fig fig lemon", "banana quince"):
        scores = plain.get_scores(words(query))
        expected = sorted(((-score, n) for n, score in enumerate(scores) if score > 0))[:10]
        hits = index.search(query, caller, 10)
        assert [hit.score for hit in hits] == pytest.approx([-score for score, _ in expected], rel=1e-4)
        assert {hit.chunk.id for hit in hits if hit.score > hits[-1].score * 1.001} <= {
            readable[n].id for _, n in expected
        }


def test_ranks_by_a_rare_word_as_rank_bm25_does(tmp_path: Path) -> None:
    index, okapi = Bm25sIndex(tmp_path / "words.sqlite"), WordsIndex(tmp_path / "words.sqlite")
    okapi.add(corpus(300))
    for word in VOCABULARY[2:]:
        ours, theirs = index.search(word, ANNA, 300), okapi.search(word, ANNA, 300)
        assert len(ours) == len(theirs) > 3
        assert [hit.chunk for hit in ours] == [hit.chunk for hit in theirs]


@pytest.mark.parametrize("tail", [0, 1000])
def test_scores_do_not_depend_on_hidden_chunks(tmp_path: Path, tail: int) -> None:
    alone, among = (Bm25sIndex(tmp_path / name, share=0, tail=tail) for name in "ab")
    visible = [chunk("payment is due", source="x"), chunk("cats sleep", source="y")]
    alone.add(visible)
    secret = replace(chunk("payment payment of much longer length", source="z"), classification=3)
    elsewhere = chunk("payment", tenant="other")
    among.add([secret, *visible, elsewhere, *(chunk("payment", "u:ben", source=str(n)) for n in range(9))])
    assert alone.search("payment", ANNA, 2) == among.search("payment", ANNA, 2)


def test_the_best_of_many_are_the_best(tmp_path: Path) -> None:
    index, chunks = Bm25sIndex(tmp_path / "words.sqlite", share=0.3), corpus(3000)
    index.add(chunks)
    for query in ("apple", "banana olive", "kiwi"):
        everything = index.search(query, BEN, 3000)
        assert len(everything) > 500 or query == "kiwi"
        for k in (1, 3, 20):
            assert index.search(query, BEN, k) == everything[:k]
    assert index.search("apple", BEN, 0) == []


def test_a_small_write_leaves_the_base_alone_and_a_large_one_replaces_it(tmp_path: Path) -> None:
    index = Bm25sIndex(tmp_path / "words.sqlite", tail=10)
    index.add(corpus(200))
    first = bases(index)
    assert len(first) == 1
    index.add([chunk("quince", source="new")])
    assert found(index, "quince", ANNA) == {"quince"}
    assert bases(index) == first
    index.add(corpus(40, seed=1))
    assert len(bases(index)) == 1
    assert bases(index) != first
    assert found(index, "quince", ANNA) == {"quince"}


def test_a_base_that_is_gone_or_damaged_is_made_again(tmp_path: Path) -> None:
    index = Bm25sIndex(tmp_path / "words.sqlite", tail=10)
    index.add(corpus(100))
    expected = index.search("olive", ANNA, 10)
    for name in ("positions", "vocab.index", "data.csc.index", "lengths", "params.index"):
        (path,) = index.folder.rglob(f"{name}.*")
        path.write_bytes(path.read_bytes()[:-5])
        index = Bm25sIndex(tmp_path / "words.sqlite", tail=10)
        assert index.search("olive", ANNA, 10) == expected
        assert len(bases(index)) == 1
    (path,) = index.folder.rglob("positions.npy")
    path.write_bytes(b"")
    index = Bm25sIndex(tmp_path / "words.sqlite", tail=10)
    assert index.search("olive", ANNA, 10) == expected
    rmtree(index.folder)
    assert Bm25sIndex(tmp_path / "words.sqlite", tail=10).search("olive", ANNA, 10) == expected


def test_the_words_of_removed_chunks_are_forgotten(tmp_path: Path) -> None:
    index = Bm25sIndex(tmp_path / "words.sqlite", share=0, tail=0)
    index.add([*corpus(20), secret := chunk("zirconium", source="secret")])
    (vocabulary,) = index.folder.rglob("vocab.index.json")
    assert "zirconium" in vocabulary.read_text("utf-8")
    index.remove([secret.id])
    (vocabulary,) = index.folder.rglob("vocab.index.json")
    assert "zirconium" not in vocabulary.read_text("utf-8")
    index.remove([each.id for each in corpus(20)])
    assert bases(index) == set()
    index.add(corpus(3))
    assert len(index.search("apple banana cherry", BEN, 9)) > 0


def test_reads_what_the_index_over_rank_bm25_wrote_and_keeps_a_base_of_it(tmp_path: Path) -> None:
    okapi, index = WordsIndex(tmp_path / "words.sqlite"), Bm25sIndex(tmp_path / "words.sqlite", tail=10)
    okapi.add(corpus(50))
    assert bases(index) == set()
    index.search("apple", ANNA, 1)
    assert len(bases(index)) == 1
    index.add([chunk("quince", source="new")])
    assert found(okapi, "quince", ANNA) == {"quince"}
    okapi.remove([chunk("quince", source="new").id])
    assert found(index, "quince", ANNA) == set()


def test_threads_may_write_and_search_at_once(tmp_path: Path) -> None:
    index = Bm25sIndex(tmp_path / "words.sqlite", share=0.1, tail=5)

    def write(n: int) -> bool:
        index.add([chunk(f"payment {n}", source=str(n))])
        return f"payment {n}" in found(index, "payment", ANNA, k=100)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, range(40)))
    assert len(index.search("payment", ANNA, 100)) == len(index) == 40


PERMISSIONS = [Permissions("default", ("public",), level) for level in (0, 2)] + [
    Permissions("default", readers, 0) for readers in ((), ("g:legal",), ("u:ben", "g:legal"), ("g:sales",))
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "permit", "compact"]),
        st.lists(st.integers(0, 9), min_size=1, max_size=4),
        st.sampled_from(PERMISSIONS),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, tail=st.sampled_from([0, 3, 1000]))
def test_finds_what_brute_force_finds_whatever_was_done_by_whichever_handle(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[int], Permissions, bool]], tail: int
) -> None:
    path = tmp_path_factory.mktemp("index") / "words.sqlite"
    handles = [Bm25sIndex(path, share=0, tail=tail) for _ in range(2)]
    texts = [chunk(f"payment {VOCABULARY[n]}", source=str(n)) for n in range(10)]
    stored: dict[int, Chunk] = {}
    for what, numbers, permissions, which in steps:
        ids = [texts[n].id for n in numbers]
        if what == "add":
            stored |= {n: permitted_as(texts[n], permissions) for n in numbers}
            handles[which].add([stored[n] for n in numbers])
        elif what == "remove":
            stored = {n: each for n, each in stored.items() if n not in numbers}
            handles[which].remove(ids)
        elif what == "permit":
            stored |= {n: permitted_as(stored[n], permissions) for n in numbers if n in stored}
            handles[which].permit(ids, permissions)
        else:
            handles[which].compact("default")
        for caller in (ANNA, BEN, Caller("eve", ("reader",), clearance=3)):
            expected = {c.text for c in stored.values() if may_read(caller, c.permissions)}
            assert found(handles[not which], "payment", caller, k=50) == expected
