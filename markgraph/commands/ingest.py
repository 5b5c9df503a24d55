"""`markgraph ingest`: documents into the index."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from markgraph.build import Graph, build_graph, make
from markgraph.commands.checks import OUTPUTS, check_choice, check_number
from markgraph.commands.ingest_report import print_json, print_text
from markgraph.documents.sandbox import close_sandboxes
from markgraph.errors import UsageError
from markgraph.ingestion.interrupt import heeding_ctrl_c
from markgraph.ingestion.lock import alone
from markgraph.ingestion.report import Details
from markgraph.security.caller import Caller

SOME_FAILED = 1


def run(config: DictConfig) -> int:
    """Ingest the corpus, print a report, and return 0, or 1 when a document could not be read."""
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "dry_run", (True, False))
    check_number(config, "limit", 1, 10**9, optional=True)
    if "path" in config.corpus and config.corpus.path is None:
        raise UsageError("Say what to ingest: markgraph ingest FOLDER, or markgraph ingest corpus=eu_law")
    if "path" in config.rules and (config.readers is not None or config.classification is not None):
        raise UsageError("rules=file says who may read what. Leave out readers= and classification=.")
    caller: Caller = make(config, "auth").caller
    details: Details = make(config.graph, "details")
    with alone(Path(config.data_dir).expanduser() / config.collection), heeding_ctrl_c():
        try:
            report = _ingest(build_graph(config), caller, {"limit": config.limit, "dry_run": config.dry_run})
        except KeyboardInterrupt:
            close_sandboxes()
            raise
        show = print_json if config.output == "json" else print_text
        show(report, details.of_dry_run if config.dry_run else details, dry_run=config.dry_run)
    return SOME_FAILED if report["failed"] else 0


def _ingest(graph: Graph, caller: Caller, request: dict[str, Any]) -> dict[str, Any]:
    """Run the graph with a progress bar on stderr: how many documents, how fast, and how long yet."""
    report: dict[str, Any] = {}
    with tqdm(unit="doc", desc="listing", disable=None, file=sys.stderr, smoothing=0.1) as bar:
        stream: Iterator[Any] = graph.stream(
            request, context=caller, stream_mode=["updates", "values", "custom"]
        )
        for mode, part in stream:
            if mode == "values":
                report = {key: part[key] for key in graph.output_channels if key in part}
            elif mode == "custom":
                bar.update(part.get("listed", 0) + part.get("read", 0))
            elif "scan" in part:
                bar.set_description("ingesting")
                bar.reset(total=part["scan"]["pending"])
    return report
