"""Maximal marginal relevance: what says the same comes later."""

import pytest

from markgraph.errors import ConfigError
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.diversity import Diversity
from markgraph.retrieval.types import Hit
from tests.retrieval.index_suite import chunk

TEXTS = ["payment is due", "payment is due now", "payment due", "delivery takes weeks", "liability has caps"]
HITS = [Hit(chunk(text, source=text), 1.0 - at / 10) for at, text in enumerate(TEXTS)]


def chosen(relevance: float, k: int = 5) -> list[str]:
    return [hit.chunk.text for hit in Diversity(HashEmbeddings(), relevance)(HITS, k)]


def test_what_says_the_same_gives_way_to_what_does_not() -> None:
    assert chosen(0.3, 3) == ["payment is due", "delivery takes weeks", "liability has caps"]


def test_relevance_alone_changes_nothing() -> None:
    assert chosen(1.0) == TEXTS
    assert chosen(1.0, 2) == TEXTS[:2]


def test_the_first_is_the_best_whatever_the_balance() -> None:
    assert {chosen(relevance)[0] for relevance in (0.1, 0.5, 0.9)} == {TEXTS[0]}


def test_scores_fall_and_each_hit_says_where_it_was_put() -> None:
    found = Diversity(HashEmbeddings(), 0.5)(HITS, 5)
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)
    assert [hit.places[-1].rank for hit in found] == [1, 2, 3, 4, 5]
    assert {hit.places[-1].part for hit in found} == {"diversity"}
    assert {hit.chunk.text for hit in found} == set(TEXTS)


def test_computes_what_the_paper_says() -> None:
    found = Diversity(HashEmbeddings(), 0.6)([HITS[0], HITS[2], HITS[3]], 3)
    assert [hit.chunk.text for hit in found] == ["payment is due", "delivery takes weeks", "payment due"]
    scores = [
        0.6,
        0.6 * 0 - 0.4 * 0,
        0.6 / 3 - 0.4 * 1,
    ]  # scaled 1, 0, 1/3; stems of the last are the first's
    assert [hit.score for hit in found] == pytest.approx(scores, abs=1e-6)


def test_alike_scores_and_few_hits_are_no_fault() -> None:
    spread = Diversity(HashEmbeddings())
    assert spread([], 3) == []
    assert len(spread([Hit(each.chunk, 0.5) for each in HITS], 9)) == 5
    with pytest.raises(ConfigError, match=r"relevance is 1.2; allowed: 0 to 1"):
        Diversity(HashEmbeddings(), 1.2)
