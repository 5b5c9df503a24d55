"""The conformance suite of the `CitationGraph` port: subclass it and give `make_graph`."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from markgraph.citations.types import Anchor, CitationGraph, Link, Mention, Node

KEYS, IDS = "kmn", "abcd"


def node(id_: str, cites: str = "", anchors: str = "") -> Node:
    """Return a passage that cites and answers to keys of one letter each."""
    mentions = tuple(Mention(key, "article", f"Article {key}", at, 0) for at, key in enumerate(cites))
    return Node(id_, tuple(map(Anchor, anchors)), mentions)


def pairs(graph: CitationGraph, *ids: str) -> list[tuple[str, str]]:
    """Return who cites whom."""
    return [(link.citing, link.cited) for link in graph.neighbours(ids)]


NODES = st.builds(node, st.sampled_from(IDS), st.text(KEYS, max_size=3), st.text(KEYS, max_size=2))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(NODES, min_size=1, max_size=3, unique_by=lambda each: each.id)),
        st.tuples(st.just("remove"), st.lists(st.sampled_from(IDS), min_size=1, max_size=2)),
    ),
    max_size=6,
)


class GraphSuite:
    """What every graph must do."""

    def make_graph(self, path: Path) -> CitationGraph:
        """Return the graph under test, opened on `path`; called again, it opens what is there."""
        raise NotImplementedError  # abstract

    @pytest.fixture
    def graph(self, tmp_path: Path) -> CitationGraph:
        return self.make_graph(tmp_path)

    def test_an_empty_graph_links_nothing(self, graph: CitationGraph) -> None:
        assert graph.neighbours(["a"]) == []
        assert graph.neighbours([]) == []
        assert len(graph) == 0
        graph.remove(["a"])
        graph.remove([])
        graph.add([])

    @pytest.mark.parametrize("order", ["ab", "ba"])
    def test_links_what_meets_in_a_key_whatever_came_first(self, graph: CitationGraph, order: str) -> None:
        nodes = {"a": node("a", cites="k"), "b": node("b", anchors="k")}
        for id_ in order:
            graph.add([nodes[id_]])
        assert graph.neighbours(["a"]) == [Link("a", 0, 0, "article", "Article k", "b", "")]
        assert graph.neighbours(["b"]) == []
        assert len(graph) == 2

    def test_gives_back_every_field_as_it_was(self, graph: CitationGraph) -> None:
        key = '["t","source:it\'s \\"ours\\"","art 6"]'
        text = "point (a) of »Article 6« — '}) DETACH DELETE n //\n`"
        graph.add(
            [Node("a", (), (Mention(key, "definition", text, 7, 3),)), Node("b", (Anchor(key, "Käufer"),))]
        )
        assert graph.neighbours(["a"]) == [Link("a", 7, 3, "definition", text, "b", "Käufer")]

    def test_keeps_every_target_of_an_ambiguous_key_and_a_link_to_itself(self, graph: CitationGraph) -> None:
        graph.add([node("a", "k", "k"), node("b", "", "k"), node("c", "", "k")])
        assert pairs(graph, "a") == [("a", "a"), ("a", "b"), ("a", "c")]

    def test_links_are_sorted_and_limited(self, graph: CitationGraph) -> None:
        graph.add([node("b", "mk"), node("a", "k"), node("c", "", "km"), node("d", "", "k")])
        links = graph.neighbours(["b", "a"])
        assert links == sorted(links)
        assert pairs(graph, "b", "a") == [("a", "c"), ("a", "d"), ("b", "c"), ("b", "c"), ("b", "d")]
        assert graph.neighbours(["b", "a"], limit=3) == links[:3]

    def test_a_removed_target_takes_its_links_and_brings_them_back(self, graph: CitationGraph) -> None:
        graph.add([node("a", "k"), node("b", "", "k")])
        graph.remove(["b", "unknown"])
        assert pairs(graph, "a") == []
        assert len(graph) == 1
        graph.add([node("c", "", "k")])
        assert pairs(graph, "a") == [("a", "c")]

    def test_a_passage_that_is_added_again_is_replaced(self, graph: CitationGraph) -> None:
        graph.add([node("a", "k"), node("b", "", "k"), node("c", "", "m")])
        graph.add([node("a", "m")])
        assert pairs(graph, "a") == [("a", "c")]
        graph.add([node("c", "", "k")])
        assert pairs(graph, "a") == []
        assert len(graph) == 3

    def test_what_was_added_is_there_when_opened_again(self, graph: CitationGraph, tmp_path: Path) -> None:
        graph.add([node("a", "k"), node("b", "", "k")])
        other = self.make_graph(tmp_path)
        assert pairs(other, "a") == [("a", "b")]
        other.remove(["b"])
        assert pairs(graph, "a") == []

    def test_forgets_everything(self, graph: CitationGraph) -> None:
        graph.clear()
        graph.add([node("a", "k"), node("b", "", "k")])
        graph.clear()
        assert len(graph) == 0
        graph.add([node("a", "k")])
        assert pairs(graph, "a") == []

    def test_more_than_fits_one_transaction(self, graph: CitationGraph) -> None:
        many = [node(f"p{n:04}", "k") for n in range(1200)]
        graph.add([*many, node("t", "", "k")])
        assert len(graph) == 1201
        assert pairs(graph, "p1199") == [("p1199", "t")]
        graph.remove([each.id for each in many])
        assert len(graph) == 1

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=STEPS)
    def test_links_what_a_brute_force_oracle_links(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[Node] | list[str]]]
    ) -> None:
        graph = self.make_graph(tmp_path_factory.mktemp("graph"))
        stored: dict[str, Node] = {}
        for what, drawn in steps:
            if what == "add":
                nodes = [each for each in drawn if isinstance(each, Node)]
                graph.add(nodes)
                stored |= {each.id: each for each in nodes}
            else:
                ids = [each for each in drawn if isinstance(each, str)]
                graph.remove(ids)
                stored = {id_: each for id_, each in stored.items() if id_ not in ids}
        expected = sorted(
            Link(citing.id, m.place, m.rank, m.kind, m.text, cited.id, "")
            for citing in stored.values()
            for cited in stored.values()
            for m in citing.mentions
            if Anchor(m.key) in cited.anchors
        )
        assert graph.neighbours(IDS) == expected
        assert len(graph) == len(stored)
        used = {m.key for each in stored.values() for m in (*each.mentions, *each.anchors)}
        assert self.keys_in(graph) == used

    def keys_in(self, graph: CitationGraph) -> set[str]:
        """Return the keys that the graph holds: none may be left that nothing uses."""
        raise NotImplementedError  # abstract
