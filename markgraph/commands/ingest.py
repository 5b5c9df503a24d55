"""`markgraph ingest`: documents into the index."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig
from tqdm import tqdm

from markgraph.build import Graph, build_graph, make
from markgraph.commands.checks import OUTPUTS, check_choice, check_number
from markgraph.errors import UsageError
from markgraph.retrieval.storage import storage_errors
from markgraph.security.caller import Caller

SOME_FAILED = 1
SHOWN = 3
"""How many skipped files are named; output=json names all."""


def run(config: DictConfig) -> int:
    """Ingest the corpus, print a report, and return 0, or 1 when a document could not be read."""
    check_choice(config, "output", OUTPUTS)
    check_number(config, "limit", 1, 10**9, optional=True)
    if "path" in config.corpus and config.corpus.path is None:
        raise UsageError("Say what to ingest: markgraph ingest FOLDER, or markgraph ingest corpus=eu_law")
    caller: Caller = make(config, "auth").caller
    with alone(Path(config.data_dir) / config.collection):
        report = _ingest(build_graph(config), caller, config.limit)
    if config.output == "json":
        print(json.dumps(report, ensure_ascii=False))  # noqa: T201
    else:
        _print(report)
    return SOME_FAILED if report["failed"] else 0


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one ingestion at a time into a collection; the next waits."""
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "ingest.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("Another ingestion of this collection is running; waiting for it.", file=sys.stderr)  # noqa: T201
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _ingest(graph: Graph, caller: Caller, limit: int | None) -> dict[str, Any]:
    """Run the graph with a progress bar on stderr."""
    report: dict[str, Any] = {}
    with tqdm(unit="doc", desc="ingesting", disable=None, file=sys.stderr) as bar:
        stream: Iterator[Any] = graph.stream(
            {"limit": limit}, context=caller, stream_mode=["updates", "values"]
        )
        for mode, part in stream:
            if mode == "values":
                report = {key: part[key] for key in graph.output_channels if key in part}
            elif "scan" in part:
                bar.reset(total=len(part["scan"]["pending"]))
            elif "index_documents" in part:
                done = part["index_documents"]
                bar.update(len(done["added"]) + len(done["changed"]) + len(done["failed"]))
    return report


def _print(report: dict[str, Any]) -> None:
    counts = [f"{len(report[what])} {what}" for what in ("added", "changed", "removed", "failed")]
    print(f"{', '.join(counts)}, {report['unchanged']} unchanged; {report['chunks']} chunks written.")  # noqa: T201
    if report["skipped"]:
        names = ", ".join(report["skipped"][:SHOWN]) + (", ..." if len(report["skipped"]) > SHOWN else "")
        print(f"Skipped, of other kinds: {len(report['skipped'])} ({names}).")  # noqa: T201
    for failure in report["failed"]:
        print(f"failed: {failure['reason']}", file=sys.stderr)  # noqa: T201
