"""Every citation graph passes the suite of its port."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from markgraph.citations.cypher import CypherGraph
from markgraph.citations.ladybug import SCHEMA, LadybugGraph
from markgraph.citations.neo4j import Neo4jGraph
from markgraph.citations.types import CitationGraph, Mention, Node
from markgraph.errors import StorageError, UsageError
from tests.citations.bolt_server import DATABASE, PASSWORD, bolt_server, wheel
from tests.citations.graph_suite import GraphSuite, node, pairs

ROOT = Path(__file__).parents[2]
WRITER = """
import itertools, sys
from pathlib import Path
from tests.citations.test_graphs import LadybugGraph, versions
graph = LadybugGraph(Path(sys.argv[1]))
for version in itertools.count():
    graph.add(versions(version))
    print(version, flush=True)
"""


def versions(version: int) -> list[Node]:
    """Return passages that all say which version they are of; one transaction replaces the one before."""
    citing = [Node(f"p{n}", (), (Mention("k", "x", str(version), 0, 0),)) for n in range(100)]
    return [*citing, node("t", "", "k")]


def keys_in(graph: CitationGraph) -> set[str]:
    assert isinstance(graph, CypherGraph)
    with graph._reading() as run:
        rows = run("MATCH (k:CitationKey) RETURN k.key", {}) if run else []
    return {key.removeprefix(graph.prefix) for (key,) in rows if key.startswith(graph.prefix)}


class TestLadybugGraph(GraphSuite):
    def make_graph(self, path: Path) -> CitationGraph:
        return LadybugGraph(path / "citations.lbdb")

    def keys_in(self, graph: CitationGraph) -> set[str]:
        return keys_in(graph)

    def test_a_failing_write_leaves_what_was_there(self, tmp_path: Path) -> None:
        graph = LadybugGraph(tmp_path / "citations.lbdb")
        graph.add([node("a", "k"), node("b", "", "k")])

        def delete_and(then: str) -> None:
            with graph._writing() as run:
                run("MATCH (p:Passage) DETACH DELETE p", {})
                if not then:
                    raise KeyboardInterrupt
                run(then, {})

        with pytest.raises(StorageError, match=r"Nothing does not exist\. .*ingest again"):
            delete_and("MATCH (p:Nothing) RETURN p")
        with pytest.raises(KeyboardInterrupt):
            delete_and("")
        assert pairs(graph, "a") == [("a", "b")]
        assert pairs(LadybugGraph(graph.path), "a") == [("a", "b")]

    def test_a_damaged_file_is_one_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "citations.lbdb").write_bytes(b"no database at all " * 500)
        with pytest.raises(StorageError, match="delete the file and ingest again"):
            self.make_graph(tmp_path).neighbours(["a"])


def test_one_process_reads_while_another_writes(tmp_path: Path) -> None:
    """Without the lock one opening in seven failed here, or read pages that did not fit together."""
    path = tmp_path / "citations.lbdb"
    graph = LadybugGraph(path)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = set()
        enough, until = time.monotonic() + 4, time.monotonic() + 60
        while time.monotonic() < enough or (len(seen) < 2 and time.monotonic() < until):
            links = graph.neighbours([f"p{n}" for n in range(100)])
            assert len(links) == 100
            assert len({link.text for link in links}) == 1
            seen.add(links[0].text)
        writer.kill()
    assert len(seen) > 1, "nothing was written meanwhile"


def test_a_killed_writer_leaves_one_version_and_another_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "citations.lbdb"
    graph = LadybugGraph(path)
    for after in (0.0, 0.03, 0.06, 0.1, 0.15):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(after)
            writer.kill()
        links = graph.neighbours([f"p{n}" for n in range(100)])
        assert (len(links), len({link.text for link in links})) == (100, 1)
    graph.add([node("p0", "k")])
    assert len(graph) == 101


DIES = """
import os, sys
import ladybug
connection = ladybug.Connection(ladybug.Database(sys.argv[1], buffer_pool_size=2**28, max_db_size=2**36))
for statement in sys.argv[2:]:
    connection.execute(statement)
os._exit(0)
"""


def run_and_die(path: Path, *statements: str) -> None:
    """Run statements in a process that ends without closing the file."""
    subprocess.run([sys.executable, "-c", DIES, str(path), *statements], check=True, cwd=ROOT)


@pytest.mark.parametrize("tables", [0, 2, 4])
def test_a_writer_killed_before_its_first_commit_leaves_an_empty_graph(tables: int, tmp_path: Path) -> None:
    path = tmp_path / "citations.lbdb"
    run_and_die(path, *SCHEMA[:tables])
    graph = LadybugGraph(path)
    assert graph.neighbours(["a"]) == []
    graph.add([node("a", "k"), node("b", "", "k")])
    assert pairs(graph, "a") == [("a", "b")]


def test_a_writer_killed_in_a_checkpoint_does_not_keep_others_from_reading(tmp_path: Path) -> None:
    path = tmp_path / "citations.lbdb"
    LadybugGraph(path).add([node("a", "k")])
    run_and_die(path, "MATCH (p:Passage) DETACH DELETE p", "CREATE (:Passage {id: 'b'})")
    # As a checkpoint begins.
    path.with_name("citations.lbdb.wal").rename(path.with_name("citations.lbdb.wal.checkpoint"))
    assert len(LadybugGraph(path)) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["citations.lbdb", "citations.lbdb.lock"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("neo4j")
    package = wheel()
    if package is None:
        pytest.skip("needs a server: pip install arcadedb-embedded")
    with bolt_server(package, tmp_path_factory.mktemp("arcadedb")) as url:
        yield url


@pytest.mark.slow
class TestNeo4jGraph(GraphSuite):
    url: ClassVar[str]
    opened: ClassVar[list[Neo4jGraph]]

    @pytest.fixture(autouse=True)
    def connected(self, server: str) -> Iterator[None]:
        type(self).url, type(self).opened = server, []
        yield
        for graph in self.opened:
            graph.close()

    def make_graph(self, path: Path) -> CitationGraph:
        graph = Neo4jGraph(self.url, str(path), username="root", password=PASSWORD, database=DATABASE)
        self.opened.append(graph)
        return graph

    def keys_in(self, graph: CitationGraph) -> set[str]:
        return keys_in(graph)

    def test_collections_share_a_database_and_nothing_else(self, tmp_path: Path) -> None:
        mine, other = self.make_graph(tmp_path / "mine"), self.make_graph(tmp_path / "other")
        mine.add([node("a", "k"), node("b", "", "k")])
        other.add([node("a", "k"), node("c", "", "k")])
        assert (pairs(mine, "a"), pairs(other, "a")) == ([("a", "b")], [("a", "c")])
        other.clear()
        assert (pairs(mine, "a"), len(mine), len(other)) == ([("a", "b")], 2, 0)

    def test_a_wrong_password_is_one_clear_error(self, tmp_path: Path) -> None:
        graph = Neo4jGraph(self.url, "c", username="root", password="wrong", database=DATABASE)
        with pytest.raises(StorageError, match="NEO4J_PASSWORD"):
            len(graph)


def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(StorageError, match="Is it running"):
        Neo4jGraph("bolt://127.0.0.1:9", "c", timeout=1).neighbours(["a"])


def test_refuses_another_machine_unless_that_is_meant() -> None:
    with pytest.raises(UsageError, match=r"citations\.remote=true"):
        Neo4jGraph("bolt://graphs.example.com:7687", "c")
    assert "secret" not in repr(Neo4jGraph("neo4j://graphs.example.com", "c", password="secret", remote=True))
    with pytest.raises(UsageError, match="Allowed: bolt://"):
        Neo4jGraph("http://127.0.0.1:7474", "c")
