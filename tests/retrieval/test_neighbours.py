"""Neighbours of a passage: exact offsets, permissions, and no text twice."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from markgraph.errors import ConfigError, DeniedError
from markgraph.retrieval.neighbours import Neighbours
from markgraph.retrieval.types import Chunk, Hit
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from tests.retrieval.index_suite import ANNA, BEN

TEXT = "Zero is here.\n\nOne is here. Two is here.\n \nThree is here.\n\n\nFour is here."
SENTENCES = ["Zero is here.", "One is here.", "Two is here.", "Three is here.", "Four is here."]
PAGES = [0, TEXT.index("Two"), TEXT.index("Four")]


def linked(chunks: list[Chunk]) -> list[Chunk]:
    """Return chunks that know what is before and after them."""
    known = {chunk.id: chunk for chunk in chunks}
    for one, other in pairwise(list(known)):
        known[one] = replace(known[one], after=other)
        known[other] = replace(known[other], before=one)
    return list(known.values())


def cut(text: str = TEXT, source: str = "doc") -> list[Chunk]:
    """Return a chunk for each sentence, with its page."""
    starts = [text.index(sentence) for sentence in SENTENCES]
    return linked(
        [
            Chunk(
                sentence,
                source,
                source,
                start,
                start + len(sentence),
                heading=("Terms", "Payment" if at < 3 else "Delivery"),
                page=sum(page <= start for page in PAGES),
                readers=("g:legal",),
            )
            for at, (sentence, start) in enumerate(zip(SENTENCES, starts, strict=True))
        ]
    )


CHUNKS = cut()


@pytest.fixture
def index(tmp_path: Path) -> WordsIndex:
    index = WordsIndex(tmp_path / "words.sqlite")
    index.add(CHUNKS)
    return index


def hits(*numbers: int) -> list[Hit]:
    return [Hit(CHUNKS[number], 1.0 - at / 10) for at, number in enumerate(numbers)]


def test_merges_what_stands_around_a_hit_with_exact_offsets(index: WordsIndex) -> None:
    [found] = Neighbours()(hits(2), index, ANNA)
    merged = found.chunk
    document = TEXT[merged.start : merged.end]
    assert (merged.start, merged.end) == (CHUNKS[1].start, CHUNKS[3].end)
    assert len(merged.text) == len(document)
    assert merged.text.split() == document.split()
    for sentence in SENTENCES[1:4]:
        at = merged.text.index(sentence)
        assert TEXT[merged.start + at :].startswith(sentence)
    assert found.score == 1.0


def test_a_merged_passage_knows_its_pages_and_the_sections_around_all_of_it(index: WordsIndex) -> None:
    [found] = Neighbours(2, 2)(hits(2), index, ANNA)
    assert found.chunk.page == 1
    assert found.chunk.page_breaks == tuple(PAGES[1:])
    assert found.chunk.heading == ("Terms",)
    [same] = Neighbours(1, 0)(hits(1), index, ANNA)
    assert same.chunk.heading == ("Terms", "Payment")


def test_hits_that_meet_become_one_at_the_place_of_the_better(index: WordsIndex) -> None:
    found = Neighbours()(hits(3, 0), index, ANNA)
    assert [(hit.chunk.start, hit.chunk.end) for hit in found] == [(0, CHUNKS[4].end)]
    assert found[0].score == 1.0


def test_hits_that_do_not_meet_stay_apart(index: WordsIndex) -> None:
    found = Neighbours(0, 0)(hits(4, 0), index, ANNA)
    assert [hit.chunk for hit in found] == [CHUNKS[4], CHUNKS[0]]
    assert len(Neighbours(0, 1)(hits(3, 0), index, ANNA)) == 2


def test_adds_neighbours_behind_their_hit_and_none_twice(index: WordsIndex) -> None:
    found = Neighbours(merge=False)(hits(3, 1), index, ANNA)
    assert [hit.chunk for hit in found] == [CHUNKS[at] for at in (3, 2, 4, 1, 0)]
    assert [hit.score for hit in found] == [1.0, 1.0, 1.0, 0.9, 0.9]


@pytest.mark.parametrize("merge", [True, False])
def test_shows_no_neighbour_that_the_caller_may_not_read(tmp_path: Path, merge: bool) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    hidden = replace(CHUNKS[1], readers=("u:ben",))
    secret = replace(CHUNKS[3], classification=2)
    index.add([CHUNKS[0], hidden, CHUNKS[2], secret, CHUNKS[4]])
    found = Neighbours(2, 2, merge)(hits(2), index, ANNA)
    assert [hit.chunk.text for hit in found] == ["Two is here."]
    with pytest.raises(DeniedError):
        Neighbours(2, 2, merge)(hits(2), index, Caller())


def test_does_not_merge_what_others_may_read(tmp_path: Path) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    index.add([CHUNKS[0], replace(CHUNKS[1], readers=("public",)), CHUNKS[2]])
    [found] = Neighbours()(hits(2), index, ANNA)
    assert found.chunk.text == "Two is here."
    assert [hit.chunk.readers for hit in Neighbours(merge=False)(hits(2), index, ANNA)] == [
        ("g:legal",),
        ("public",),
    ]


def test_one_who_may_read_nothing_gets_no_more_than_was_found(index: WordsIndex) -> None:
    assert [hit.chunk for hit in Neighbours()(hits(2), index, BEN)] == [CHUNKS[2]]


def test_chunks_without_neighbours_are_left_as_they_are(tmp_path: Path) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    lone = replace(CHUNKS[2], before="", after="")
    index.add([lone])
    for merge in (True, False):
        assert Neighbours(merge=merge)([Hit(lone, 1.0)], index, ANNA) == [Hit(lone, 1.0)]
    assert Neighbours()([], index, ANNA) == []


def test_a_circle_of_neighbours_ends(tmp_path: Path) -> None:
    index = WordsIndex(tmp_path / "words.sqlite")
    one, other = CHUNKS[0], CHUNKS[1]
    one, other = (replace(each, before=far.id, after=far.id) for each, far in ((one, other), (other, one)))
    index.add([one, other])
    assert len(Neighbours(5, 5, merge=False)([Hit(one, 1.0)], index, ANNA)) == 2


def test_names_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match=r"before is -1; allowed: 0 or more"):
        Neighbours(before=-1)
