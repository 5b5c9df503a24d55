"""Following citations finds what is cited, and nothing that the caller may not read or know of."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from markgraph.citations.follow import follow
from markgraph.citations.index import CitedIndex, relink
from markgraph.citations.ladybug import LadybugGraph
from markgraph.citations.types import Node
from markgraph.errors import DeniedError
from markgraph.retrieval.types import Chunk, Hit
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from tests.retrieval.index_suite import ANNA, BEN, OTHER_TENANT, IndexSuite

Stored = tuple[CitedIndex, LadybugGraph]


def article(number: int, text: str, *readers: str, tenant: str = "default") -> Chunk:
    """Return the only passage of an article of one regulation."""
    return Chunk(
        text,
        f"art{number}",
        f"Article {number}",
        0,
        len(text),
        tenant=tenant,
        readers=readers or ("public",),
        metadata={"regulation": "R", "celex": "32016R0679", "article": str(number)},
    )


def stored(path: Path, chunks: Sequence[Chunk]) -> Stored:
    graph = LadybugGraph(path / "citations.lbdb")
    index = CitedIndex(WordsIndex(path / "words.sqlite"), graph)
    index.add(chunks)
    return index, graph


def reached(
    at: Stored, start: Chunk, caller: Caller, question: str = "", hops: int = 1, most: int = 9
) -> list[str]:
    """Return the titles that are reached from `start`, in order."""
    index, graph = at
    found = follow(graph, index, [Hit(start, 1.0)], caller, question, hops=hops, most=most)
    return [hit.chunk.title for hit in found]


def test_reaches_what_is_cited_over_as_many_hops_as_asked(tmp_path: Path) -> None:
    chain = [article(1, "See Article 2."), article(2, "See Article 3."), article(3, "See Article 1.")]
    at = stored(tmp_path, chain)
    assert reached(at, chain[0], ANNA) == ["Article 2"]
    assert reached(at, chain[0], ANNA, hops=2) == ["Article 2", "Article 3"]
    assert reached(at, chain[1], ANNA, hops=2) == ["Article 3", "Article 1"]


def test_no_path_leads_through_what_a_caller_may_not_read(tmp_path: Path) -> None:
    chain = [article(1, "See Article 2."), article(2, "See Article 3.", "u:ben"), article(3, "The end.")]
    at = stored(tmp_path, chain)
    assert reached(at, chain[0], BEN, hops=2) == ["Article 2", "Article 3"]
    assert reached(at, chain[0], ANNA, hops=2) == []
    at[0].permit([chain[1].id], Permissions("default", ("public",), 0))
    assert reached(at, chain[0], ANNA, hops=2) == ["Article 2", "Article 3"]


def test_what_is_hidden_takes_no_place_and_hides_no_wider_reading(tmp_path: Path) -> None:
    hidden = [
        Chunk(f"1. First {n}", f"h{n}", "Article 2", 0, 10, readers=("u:ben",), metadata=META)
        for n in range(9)
    ]
    citing, whole = article(1, "See Article 2(1)."), article(2, "Without paragraphs.")
    at = stored(tmp_path, [*hidden, citing, whole])
    assert reached(at, citing, ANNA, most=1) == ["Article 2"]
    assert len(reached(at, citing, BEN)) == 9


META = {"regulation": "R", "celex": "32016R0679", "article": "2"}


def test_a_passage_that_was_found_already_is_not_appended(tmp_path: Path) -> None:
    chunks = [article(1, "See Articles 2 and 3."), article(2, "Two."), article(3, "Three.")]
    index, graph = stored(tmp_path, chunks)
    hits = [Hit(chunks[0], 0.9), Hit(chunks[1], 0.5)]
    found = follow(graph, index, hits, ANNA, "")
    assert [hit.chunk.title for hit in found] == ["Article 3"]
    assert found[0].score < 0.5


def test_says_where_and_how_it_is_cited_and_falls_in_score(tmp_path: Path) -> None:
    chunks = [article(1, "See Article 2 and Article 3."), article(2, "Two."), article(3, "Three.")]
    index, graph = stored(tmp_path, chunks)
    found = follow(graph, index, [Hit(chunks[0], -0.2)], ANNA, "")
    notes = [(hit.chunk.metadata["cited_by"], hit.chunk.metadata["cited_as"]) for hit in found]
    assert notes == [("Article 1", "Article 2"), ("Article 1", "Article 3")]
    assert -0.2 > found[0].score > found[1].score


def test_what_the_best_hit_cites_comes_first_within_the_most(tmp_path: Path) -> None:
    citing = [article(1, "See Article 9."), article(2, "See Articles 5, 4 and 3.")]
    index, graph = stored(tmp_path, [*citing, *(article(n, f"Number {n}.") for n in (3, 4, 5, 9))])
    hits = [Hit(citing[1], 0.9), Hit(citing[0], 0.5)]
    found = follow(graph, index, hits, ANNA, "", most=3)
    assert [hit.chunk.title for hit in found] == ["Article 5", "Article 4", "Article 3"]
    found = follow(graph, index, hits[::-1], ANNA, "", most=3)
    assert [hit.chunk.title for hit in found] == ["Article 9", "Article 5", "Article 4"]


def test_a_definition_is_reached_when_question_and_passage_use_its_term(tmp_path: Path) -> None:
    defining = article(4, "‘personal data breach’ means a breach of security")
    using, other = article(33, "Notify a personal data breach."), article(34, "Notify a fire.")
    at = stored(tmp_path, [defining, using, other])
    assert reached(at, using, ANNA, "When is a personal data breach notified?") == ["Article 4"]
    assert reached(at, using, ANNA, "When is it notified?") == []
    assert reached(at, other, ANNA, "When is a personal data breach notified?") == []


def test_a_target_that_is_ingested_later_or_again_or_removed(tmp_path: Path) -> None:
    citing, cited = article(1, "See Article 2."), article(2, "Two.")
    at = stored(tmp_path, [citing])
    assert reached(at, citing, ANNA) == []
    at[0].add([cited])
    assert reached(at, citing, ANNA) == ["Article 2"]
    at[0].remove([cited.id])
    assert reached(at, citing, ANNA) == []


def test_nobody_follows(tmp_path: Path) -> None:
    chunks = [article(1, "See Article 2."), article(2, "Two.")]
    with pytest.raises(DeniedError):
        reached(stored(tmp_path, chunks), chunks[0], Caller())
    assert reached(stored(tmp_path, chunks), chunks[0], OTHER_TENANT) == []


def test_an_index_that_was_filled_without_a_graph_is_linked_later(tmp_path: Path) -> None:
    chunks = [article(1, "See Article 2."), article(2, "Two.")]
    index, graph = stored(tmp_path, [])
    index.index.add(chunks)
    graph.add([Node("left behind")])
    relink(index, graph)
    assert reached((index, graph), chunks[0], ANNA) == ["Article 2"]
    assert len(graph) == 2


class TestCitedIndex(IndexSuite):
    def make_index(self, path: Path) -> CitedIndex:
        return CitedIndex(WordsIndex(path / "words.sqlite"), LadybugGraph(path / "citations.lbdb"))


CALLERS = st.builds(
    Caller,
    st.sampled_from(["anna", "ben"]),
    tenant=st.sampled_from(["default", "other"]),
    groups=st.lists(st.just("legal"), max_size=1).map(tuple),
)
ATOMS = st.lists(st.sampled_from(["public", "u:anna", "u:ben", "g:legal"]), max_size=2, unique=True)
ARTICLES = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.lists(st.integers(1, 6), max_size=2),
        ATOMS,
        st.sampled_from(["default", "other"]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=ARTICLES, caller=CALLERS, hops=st.sampled_from([1, 2]))
def test_reaches_exactly_what_a_brute_force_oracle_reaches(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[int, list[int], list[str], str]],
    caller: Caller,
    hops: int,
) -> None:
    texts = {}
    for number, cited, readers, tenant in drawn:
        said = "".join(f" See Article {each}." for each in cited)
        texts[number, tenant] = (
            article(number, f"Nr. {number}.{said}", *readers, tenant=tenant),
            cited,
            readers,
        )
    index, graph = stored(tmp_path_factory.mktemp("follow"), [chunk for chunk, _, _ in texts.values()])
    held = {"public", f"u:{caller.subject}", *(f"g:{group}" for group in caller.groups)}
    mine = {
        number: (chunk, cited)
        for (number, tenant), (chunk, cited, readers) in texts.items()
        if tenant == caller.tenant and held & {*chunk.readers}
    }
    for number, (chunk, _) in mine.items():
        seen, edge = {number}, {number}
        for _ in range(hops):
            edge = {to for each in edge for to in mine[each][1] if to in mine} - seen
            seen |= edge
        expected = {f"Article {each}" for each in seen - {number}}
        assert set(reached((index, graph), chunk, caller, hops=hops, most=99)) == expected
