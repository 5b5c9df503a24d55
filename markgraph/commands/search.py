"""`markgraph search`: which passages a question finds, and why in this order."""

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from markgraph.build import make, make_services
from markgraph.commands.checks import OUTPUTS, check_choice, check_number
from markgraph.commands.guarded import journal_of
from markgraph.commands.terminal import printable
from markgraph.errors import UsageError
from markgraph.retrieval.search import find_refined
from markgraph.retrieval.storage import storage_errors
from markgraph.retrieval.types import Hit
from markgraph.security.caller import Caller
from markgraph.security.policy import Need, Resource

NOTHING = 3
BEGINNING = 240
"""Characters of a passage that people are shown."""


def run(config: DictConfig) -> int:
    """Search for `config.query`, print what was found, and return 0, or 3 when that is nothing."""
    check_choice(config, "output", OUTPUTS)
    check_number(config, "k", 1, 10_000)
    query = str(config.query or "").strip()
    if not query:
        raise UsageError('Say what to search for: markgraph search "WORDS"')
    caller: Caller = make(config, "auth").caller
    journal = journal_of(config, "search", caller)
    with storage_errors(Path(config.data_dir)):
        index, refine = make_services(config, "index", "rerank")
        journal.require(Need("documents:read", Resource("index", index.name)))
        hits = find_refined(index, query, caller, config.k, refine)
        journal.read({"source": hit.chunk.source, "ids": hit.ids} for hit in hits)
    if config.output == "json":
        found = [as_json(rank, hit) for rank, hit in enumerate(hits, start=1)]
        print(json.dumps({"query": query, "hits": found}, ensure_ascii=False))  # noqa: T201
    else:
        show(hits)
    return 0 if hits else NOTHING


def as_json(rank: int, hit: Hit) -> dict[str, Any]:
    """Return a hit as plain data, without its permissions."""
    chunk = hit.chunk
    return {
        "rank": rank,
        "score": hit.score,
        "places": {place.part: {"rank": place.rank, "score": place.score} for place in hit.places},
        "title": chunk.title,
        "heading": list(chunk.heading),
        "source": chunk.source,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
    }


def show(hits: list[Hit]) -> None:
    """Print hits for people."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), markup=False)
    if not hits:
        console.print("Nothing that you may read was found.")
    for rank, hit in enumerate(hits, start=1):
        chunk = hit.chunk
        path = " > ".join(chunk.heading or (chunk.title,))
        page = f", page {chunk.page}" if chunk.page else ""
        scores = [f"{place.part} {place.rank}. ({place.score:.3g})" for place in hit.places]
        console.print(Text(f"{rank}. {printable(path)}{page}", style="cyan"))
        console.print(Text("   " + ", ".join([f"score {hit.score:.3g}", *scores]), style="dim"))
        console.print(
            Text(f"   {printable(chunk.source)}, characters {chunk.start} to {chunk.end}", style="dim")
        )
        words = " ".join(printable(chunk.text).split())
        console.print(Text(f"   {words[:BEGINNING]}{'…' if len(words) > BEGINNING else ''}\n"))
