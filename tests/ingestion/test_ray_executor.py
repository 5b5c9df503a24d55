"""`executor=ray` on a local cluster gives what `executor=local` gives."""

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

from benchmarks.bombs import BOMBS
from markgraph.build import compose, make_service
from markgraph.documents.sandbox import Sandbox
from markgraph.documents.types import Document
from markgraph.errors import ConfigError, MarkError
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.corpora import Folder, Item
from markgraph.ingestion.executor import Executor, LocalExecutor
from markgraph.ingestion.prepare import Prepare, Prepared
from markgraph.ingestion.ray_cluster import Cluster
from markgraph.ingestion.ray_executor import RayExecutor
from markgraph.models.embed import HashEmbeddings
from markgraph.retrieval.chroma import ChromaIndex
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.hybrid import HybridIndex
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from tests.graphs.ingesting import WRITER, ingest
from tests.ingestion.executor_suite import RULES, ExecutorSuite

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'markgraph[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a cluster of two CPUs in a folder that nothing should be imported from; return the folder."""
    folder, before = tmp_path_factory.mktemp("working"), Path.cwd()
    others = psutil.Process().children(recursive=True)  # servers of other tests
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        patch.chdir(folder)
        cluster = Cluster(None, cpus=2, memory=128)
    assert Path.cwd() == before
    yield folder
    family = set(psutil.Process().children(recursive=True)) - set(others)
    cluster.leave()
    assert not ray.is_initialized()
    assert len(family) > 4
    gc.collect()  # graphs of these tests, which have readers of their own
    _, left = psutil.wait_procs(family, timeout=10)
    assert not [process.cmdline() for process in left if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.usefixtures("cluster")
class TestRayExecutor(ExecutorSuite):
    def make_executor(self) -> Executor:
        return RayExecutor(batch_size=4)


class Ingested(NamedTuple):
    report: dict[str, Any]
    chunks: list[Chunk]
    vectors: dict[str, list[float]]
    hits: list[list[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write some documents of several kinds, three of which can't be read."""
    import docx

    folder = tmp_path_factory.mktemp("mixed") / "documents"
    (folder / "hr").mkdir(parents=True)
    for number in range(6):
        text = "".join(f"## Part {part}\n\n" + f"Clause c{number}p{part}. " * 25 for part in range(3))
        (folder / f"{number}.md").write_text(f"# Contract {number}\n\nPayment is due.\n\n{text}")
    (folder / "hr" / "pay.html").write_text("<h1>Pay</h1><p>The bonus is paid in May.</p>")
    word = docx.Document()
    word.add_heading("Delivery", level=1)
    word.add_paragraph("Goods are delivered within ten days.")
    word.save(folder / "delivery.docx")
    (folder / "broken.docx").write_bytes(b"PK\3\4 no archive")
    (folder / "binary.txt").write_bytes(b"\0\0\0")
    (folder / "endless.pdf").write_bytes(BOMBS["endless-forms.pdf"]())
    return folder


def ingested(folder: Path, home: Path, executor: Executor, embedder: Embedder) -> Ingested:
    """Ingest `folder` into a new collection, and return what is there then."""
    dense = ChromaIndex(home / "chroma", embedder)
    index = HybridIndex([dense, WordsIndex(home / "words.sqlite")])
    home.mkdir()
    report = ingest(
        home / "documents",  # beside which the ledger is kept
        index,
        corpus=Folder(folder, Sandbox(seconds=5, memory=4096)),
        rules=RULES,
        executor=executor,
        embedder=embedder,
        chunker=Chunker(embedder=embedder),
    )
    with dense._reading() as collection:
        assert collection is not None
        rows = collection.get(include=["embeddings"])
    vectors = dict(zip(rows["ids"], np.asarray(rows["embeddings"]).tolist(), strict=True))
    hits = [[hit.chunk.source for hit in index.search(chunk.text, WRITER, 1)] for chunk in index.scan()]
    return Ingested(report, index.scan(), vectors, hits)


def check_same(folder: Path, tmp_path: Path, embedder: Embedder, tolerance: float) -> None:
    here = ingested(folder, tmp_path / "local", LocalExecutor(), embedder)
    there = ingested(folder, tmp_path / "ray", RayExecutor(batch_size=3), embedder)
    assert here.report["added"] == 8
    assert {Path(each["source"]).name for each in here.report["failures"]} == {
        "broken.docx",
        "binary.txt",
        "endless.pdf",
    }
    for measured in ("timings", "waited"):
        del here.report[measured], there.report[measured]
    assert here.report == there.report
    assert here.chunks == there.chunks
    assert here.hits == there.hits
    assert here.vectors.keys() == there.vectors.keys() == {chunk.id for chunk in here.chunks}
    for id_, vector in here.vectors.items():
        assert np.allclose(vector, there.vectors[id_], rtol=0, atol=tolerance)


class FarEmbeddings(HashEmbeddings):
    """Refuses to embed documents in the process that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.home = os.getpid()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        assert os.getpid() != self.home, "the workers have embedded everything"
        return super().embed_documents(texts)


@pytest.mark.usefixtures("cluster")
def test_gives_what_the_local_executor_gives(folder: Path, tmp_path: Path) -> None:
    check_same(folder, tmp_path, HashEmbeddings(), tolerance=0)


@pytest.mark.weights
@pytest.mark.usefixtures("cluster")
def test_gives_the_vectors_of_a_model_that_each_worker_loads(folder: Path, tmp_path: Path) -> None:
    check_same(folder, tmp_path, make_service(compose("ingest"), "embedder"), tolerance=1e-5)


@pytest.mark.usefixtures("cluster")
def test_the_index_embeds_nothing_again(folder: Path, tmp_path: Path) -> None:
    there = ingested(folder, tmp_path / "ray", RayExecutor(), FarEmbeddings())
    assert len(there.vectors) == len(there.chunks) > 0


PREPARE = Prepare(Chunker(), RULES, "acme", "corpus")


def item(load: Any, *arguments: Any) -> Item:
    return Item("a", "f", partial(load, *arguments))


def tell_where_modules_come_from() -> Document:
    return Document("a", "\n".join(sys.path), "paths")


def test_nothing_is_imported_from_the_working_folder(cluster: Path) -> None:
    (outcome,) = RayExecutor().run([item(tell_where_modules_come_from)], PREPARE)
    assert isinstance(outcome, Prepared)
    paths = "\n".join(chunk.text for chunk in outcome.chunks).splitlines()
    assert str(Path(__file__).parents[2]) in paths
    assert str(cluster) not in paths
    assert "" not in paths


def die(marks: Path, times: int) -> Document:
    """Kill the process that reads, so many times."""
    if len(list(marks.iterdir())) < times:
        (marks / str(os.getpid())).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Document("a", "survived", "title")


@pytest.mark.usefixtures("cluster")
def test_what_a_dead_worker_was_doing_is_done_again(tmp_path: Path) -> None:
    (outcome,) = RayExecutor().run([item(die, tmp_path, 1)], PREPARE)
    assert isinstance(outcome, Prepared)
    assert [chunk.text for chunk in outcome.chunks] == ["survived"]


@pytest.mark.usefixtures("cluster")
def test_workers_that_die_again_and_again_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(MarkError, match="Ray could not finish"):
        list(RayExecutor().run([item(die, tmp_path, 100)], PREPARE))
    assert 1 < len(list(tmp_path.iterdir())) < 10


@pytest.mark.usefixtures("cluster")
def test_nobody_gets_in_without_the_token() -> None:
    code = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
    address = ray.get_runtime_context().gcs_address
    refused = subprocess.run(
        [sys.executable, "-c", code, address],
        env=os.environ | {"RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert refused.returncode
    assert "AuthenticationError" in refused.stderr


def test_settings_cross_to_other_processes_and_nothing_else() -> None:
    sandbox = Sandbox(seconds=7, languages=["deu"], xml={"document": "//article"})
    one, other = (ray.cloudpickle.loads(ray.cloudpickle.dumps(sandbox)) for _ in range(2))
    assert one is other is not sandbox, "children are shared by all that comes into a process"
    assert (one.seconds, one.options) == (7, sandbox.options)


@pytest.mark.weights
def test_an_embedder_crosses_without_its_weights() -> None:
    embedder: Any = make_service(compose("ingest"), "embedder")
    vector = embedder.embed_query("payment")
    crossed = ray.cloudpickle.dumps(embedder)
    assert len(crossed) < 1000
    assert ray.cloudpickle.loads(crossed).embed_query("payment") == vector


@pytest.mark.parametrize("setting", [{"cpus": 0}, {"readers": 1.5}, {"embedders": -1}, {"batch_size": True}])
def test_a_setting_that_lets_nobody_work_is_an_error(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Allowed: a whole number from 1"):
        RayExecutor(**setting)


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """Ingest `folder` in a process of its own, with a cluster of its own."""
    command = [sys.executable, "-m", "markgraph.cli", "ingest", str(folder), "executor=ray", "embedder=hash"]
    return subprocess.Popen(
        [*command, "output=json", *overrides],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_run_starts_a_cluster_quietly_and_ends_it(is_interrupted: bool, tmp_path: Path, home: Path) -> None:
    written = 600 if is_interrupted else 1
    (documents := tmp_path / "documents").mkdir()
    for number in range(written):
        (documents / f"{number}.md").write_text("# Terms\n\nPayment is due.")
    process = start(documents, "graph.index_documents.batch_size=4", "executor.batch_size=4")
    wait_until(lambda: finished(home) > 0, 240)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(of_the_cluster := list(Path("/tmp").glob(f"mark-{process.pid}-*"))) == 1
    if is_interrupted:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    expected = "markgraph: Interrupted. What was finished is kept.\n" if is_interrupted else ""
    assert (process.returncode, err) == (130 if is_interrupted else 0, expected)
    assert bool(out) is not is_interrupted
    assert (finished(home) < written) is is_interrupted
    wait_until(lambda: not any(map(is_alive, family)), 5)
    assert not of_the_cluster[0].exists()


def finished(home: Path) -> int:
    """Return how many documents are in the index of a run that goes on."""
    if not (path := home / "documents" / "ledger.sqlite").exists():
        return 0
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as database:
        try:
            query = "SELECT count(*) FROM documents WHERE fingerprint IS NOT NULL"
            return int(database.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # its tables are being made
            return 0
