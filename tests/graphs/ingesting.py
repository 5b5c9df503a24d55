"""Ingests a folder, as the tests of the ingestion graph do."""

from functools import partial
from pathlib import Path
from typing import Any

from markgraph.build import compose, make_service
from markgraph.documents.sandbox import Sandbox
from markgraph.graphs import ingest as ingest_graph
from markgraph.ingestion.corpora import Folder
from markgraph.ingestion.ledger import Ledger
from markgraph.ingestion.rules import rules_for_all
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller

WRITER = Caller("wanda", ("reader", "writer"))
LEGAL = Caller("anna", ("reader",), groups=("legal",))
build = partial(ingest_graph.build, policy=make_service(compose("embed"), "policy"))
PARSER = Sandbox()
"""One for all tests, since each starts processes when it first reads."""


def ingest(
    folder: Path,
    index: Index,
    readers: tuple[str, ...] = ("public",),
    dry_run: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Ingest `folder` as WRITER and return the report."""
    options = {"rules": rules_for_all(readers), "corpus": Folder(folder, PARSER), **options}
    graph = build(index=index, ledger=Ledger(folder.parent / "ledger.sqlite"), **options)
    return graph.invoke({"limit": None, "dry_run": dry_run}, context=WRITER)
