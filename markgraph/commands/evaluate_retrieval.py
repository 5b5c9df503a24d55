"""`markgraph evaluate suite=retrieval`: how well each retriever ranks, and how long it takes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from markgraph.commands.checks import check_number
from markgraph.commands.judged import Judged, asking, judged
from markgraph.config_errors import nearest
from markgraph.errors import ConfigError
from markgraph.evaluation.kept import KeptRankings, kept_for
from markgraph.evaluation.plot import draw_retrieval
from markgraph.evaluation.retrieval import METRICS, Ranked, Retriever, rank, retrievers_of, rows_of
from markgraph.json_text import json_text
from markgraph.launching.outcome import Outcome


def run(config: DictConfig) -> Outcome:
    """Measure, and print what came of it."""
    check_number(config, "k", 100, 1000)
    ready = judged(config, "evaluate")
    retrievers = chosen(retrievers_of(ready.index, ready.refine), config.retrievers)
    kept = _kept(config, ready, retrievers)
    if not config.resume:
        kept.clear()
    rows = rows_of(_measure(ready, retrievers, kept, config.k), ready.dataset)
    if config.output == "json":
        print(json_text({"rows": rows}))  # noqa: T201
    else:
        show(rows, Console(highlight=False, soft_wrap=not sys.stdout.isatty()))
    if config.plot is not None:
        title = f"nDCG@10 on {ready.dataset.name}, {len(ready.queries)} queries"
        draw_retrieval(rows, Path(config.plot), title)
    return Outcome(0, rows[-1]["ndcg@10"], "ndcg@10")


def chosen(retrievers: Sequence[Retriever], names: Sequence[str] | None) -> list[Retriever]:
    """Return the retrievers called `names`, in that order; all of them for None.

    Raises:
        ConfigError: a name is unknown, or there is none.
    """
    known = {retriever.name: retriever for retriever in retrievers}
    if names is None:
        return list(retrievers)
    listed = names.split(",") if isinstance(names, str) else list(names)
    for name in listed:
        if name not in known:
            raise ConfigError(f"Config 'retrievers' has value {name!r}.{nearest(str(name), known)}")
    if not listed:
        raise ConfigError(f"Config 'retrievers' is empty. Allowed: {', '.join(known)}.")
    return [known[name] for name in dict.fromkeys(listed)]


def _kept(config: DictConfig, ready: Judged, retrievers: Sequence[Retriever]) -> KeptRankings:
    settings = {
        "index": OmegaConf.to_container(config.index),
        "rerank": OmegaConf.to_container(config.rerank, resolve=True),
        "retrievers": [retriever.name for retriever in retrievers],
        "queries": [list(query) for query in ready.queries],
        "k": config.k,
    }
    return kept_for(ready.folder, settings)


def _measure(ready: Judged, retrievers: Sequence[Retriever], kept: KeptRankings, k: int) -> list[Ranked]:
    """Ask what was not asked before, and return everything that was found."""
    found = kept.read()
    asked = {each.query for ranked in found for each in ranked}
    left = [query for query in ready.queries if query.id not in asked]
    with asking(len(ready.queries)) as bar:
        bar.update(len(found))
        for ranked in rank(retrievers, left, ready.caller, k=k, chunks=ready.chunks(k)) if left else ():
            kept.add(ranked)
            found.append(ranked)
            bar.update()
    return [each for ranked in found for each in ranked]


def show(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print the rows as a table, and below it how fused rankings stand to the best part."""
    first, *others = METRICS
    table = Table("retriever", first, "95 %", *others, "p50 ms", "p95 ms", box=None)
    for row in rows:
        low, high = row["intervals"][first]
        figures = [f"{row[metric]:.3f}" for metric in others]
        times = [f"{row['p50_ms']:.1f}", f"{row['p95_ms']:.1f}"]
        table.add_row(row["retriever"], f"{row[first]:.3f}", f"{low:.3f}-{high:.3f}", *figures, *times)
    console.print(table)
    console.print(f"{rows[0]['queries']} queries; 95 %: where the means of resampled queries lie.")
    for row in rows:
        if difference := row["difference"]:
            low, high = difference["interval"]
            console.print(
                f"{row['retriever']} - {difference['to']}: nDCG@10 {difference['ndcg@10']:+.4f} "
                f"[{low:+.4f}, {high:+.4f}], {verdict(low, high)}.",
                markup=False,
            )


def verdict(low: float, high: float) -> str:
    """Return what an interval of differences says."""
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference that these queries show"
