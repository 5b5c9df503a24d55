"""Gets a judged data set ready to be searched: read, cut, and in an index of its own."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from markgraph.build import make, make_service, make_services
from markgraph.commands.guarded import journal_of
from markgraph.errors import UsageError
from markgraph.evaluation.beir import Dataset, Text, load_dataset
from markgraph.evaluation.collection import chunks_of, collection_name, fill
from markgraph.ingestion.lock import alone
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.search import Refine
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from markgraph.security.policy import Need, Resource, writing

MOST_CHUNKS = 1000


@dataclass(frozen=True)
class Judged:
    """A data set in an index."""

    dataset: Dataset
    index: Index
    refine: Refine | None
    embedder: Embedder
    caller: Caller
    folder: Path
    """Where its collection is."""
    density: float
    """How many chunks a document has on average."""
    queries: list[Text]

    def chunks(self, k: int) -> int:
        """Return how many chunks are asked for, so that there are about `k` documents among them."""
        return min(ceil(k * max(self.density, 1.0)), MOST_CHUNKS)


def judged(config: DictConfig, verb: str, read: Callable[[Path], Dataset] = load_dataset) -> Judged:
    """Return the data set that `config.dataset` names; it is indexed at the first use and kept.

    Its collection is of the caller's tenant, so that needs the permission to write documents, too.

    Args:
        config: of the verb.
        verb: what the audit log calls it.
        read: returns the data set in a folder.
    """
    if config.dataset is None:
        raise UsageError("Say what to measure on: dataset=FOLDER with corpus.jsonl, queries.jsonl, qrels.tsv")
    caller: Caller = make(config, "auth").caller
    journal = journal_of(config, verb, caller)
    for need in (Need("documents:read", Resource("dataset", str(config.dataset))), writing()):
        journal.require(need)
    dataset = read(Path(config.dataset))
    if dataset.unasked:
        print(f"{dataset.unasked} judged queries are not in the queries file.", file=sys.stderr)  # noqa: T201
    if dataset.missing:
        print(f"{dataset.missing} judged documents are not in the corpus.", file=sys.stderr)  # noqa: T201
    embedder = make_service(config, "embedder")
    chunker = make(config, "chunker")(embedder=embedder)
    config = config.copy()
    config.collection = collection_name(dataset, f"{_kinds(config)} {chunker!r} {caller.tenant}")
    index, refine = make_services(config, "index", "rerank", embedder=embedder)
    chunks = chunks_of(dataset, chunker, caller)
    folder = Path(config.data_dir) / config.collection
    with alone(folder), _bar("indexing", "chunk", len(chunks)) as bar:
        fill(index, chunks, caller, bar.update)
    density = len(chunks) / len(dataset.corpus)
    queries = dataset.queries[: config.limit]
    return Judged(dataset, index, refine or None, embedder, caller, folder, density, queries)


def asking(total: int) -> Any:
    """Return a progress bar over queries."""
    return _bar("asking", "query", total)


def _bar(what: str, unit: str, total: int) -> Any:
    return tqdm(total=total, desc=what, unit=unit, disable=None, file=sys.stderr)


def _kinds(config: DictConfig) -> str:
    """Return what decides which vectors and words an index holds: its classes, and the embedder."""
    index: Any = OmegaConf.to_container(config.index)
    embedder: Any = OmegaConf.to_container(config.embedder, resolve=True)
    return f"{_classes(index)} {sorted(embedder.items(), key=str)}"


def _classes(index: dict[str, Any]) -> list[str]:
    """Return the class of an index, and of those within it."""
    parts = index.get("parts")
    within = [*(parts if isinstance(parts, list) else []), index.get("index")]
    classes = [name for each in within if isinstance(each, dict) for name in _classes(each)]
    return [str(index.get("_target_")), *classes]
