"""Reads, chunks and embeds documents on Ray Data: on this machine, or on all machines of a cluster.

Workers run the same code as `executor=local`, so they need markgraph, and the files under the same paths.
Does NOT write to the index: this process does.
"""

import threading
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from markgraph.errors import ConfigError, MarkError
from markgraph.ingestion.corpora import Item
from markgraph.ingestion.executor import Outcomes
from markgraph.ingestion.prepare import Prepare, Prepared, Unreadable, prepare_item
from markgraph.ingestion.ray_cluster import Cluster, import_ray
from markgraph.retrieval.dense import Embedder, embed
from markgraph.retrieval.types import Vectors

Batch = dict[str, Any]
"""Columns by name: `item` or `outcome`, each a list of objects."""
PATIENCE = 3
"""Seconds for the threads of Ray Data to notice that nobody takes results any more; one never does."""
RETRIES = 2
"""How often a worker that died is started again, and what it was doing is done again."""


@dataclass(eq=False)
class RayExecutor:
    """Reads and chunks in one pool of processes, and embeds in another.

    A cluster that it started ends with this object, with this process, and with a run that is cut short.

    Raises:
        ConfigError: a number is below 1.
    """

    address: str | None = None
    """None starts a cluster here; `auto`, HOST:PORT or `ray://HOST:PORT` joins one that is there."""
    cpus: int | None = None
    """Processes of a cluster that is started here; None: one a core, at least two."""
    memory: int = 256
    """MiB of a cluster that is started here for what is under way between processes."""
    readers: int | None = None
    """Processes that read and chunk, at most; None: as many as there is room for."""
    embedders: int | None = None
    """Processes that embed, at most; None: as many as there is room for."""
    batch_size: int = 16
    """Documents that a process is given at a time."""
    step_size: int = 8192
    """Processes are started for each step: some seconds that so many documents share."""
    _cluster: Cluster | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("cpus", "memory", "readers", "embedders", "batch_size", "step_size"):
            value = vars(self)[name]
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"executor.{name} is {value!r}. Allowed: a whole number from 1.")

    def run(self, items: Sequence[Item], prepare: Prepare) -> Outcomes:
        """Yield what became of each item, in the order of `items`, with vectors where there is an embedder.

        Raises:
            MissingExtraError: Ray is not installed.
            MarkError: the cluster can't be reached, was lost, or has no room.
        """
        if not items:
            return
        is_done, outcomes = False, self._outcomes(items, prepare)
        try:
            for item, outcome in zip(items, outcomes, strict=True):
                if isinstance(outcome, MarkError):
                    raise outcome
                if outcome.source != item.source:
                    raise MarkError(
                        f"Ray returned {outcome.source} where {item.source} was due. Run it again."
                    )
                yield outcome
            is_done = True
        finally:
            outcomes.close()  # what uses the cluster ends before it
            if not is_done:
                self.close()

    def close(self) -> None:
        """End or leave the cluster, and what runs there; a later run starts or joins one again."""
        if self._cluster:
            self._cluster.leave()
            self._cluster = None

    def _outcomes(self, items: Sequence[Item], prepare: Prepare) -> Generator[Any, None, None]:
        ray = import_ray()
        if self._cluster is None or not ray.is_initialized():
            self._cluster = Cluster(self.address, self.cpus, self.memory)
        self._check_room(ray.cluster_resources().get("CPU", 0), prepare.embedder)
        threads = set(threading.enumerate())
        with warnings.catch_warnings():
            # How often to restart has no other name yet, and others of Ray's settings warn of themselves.
            warnings.simplefilter("ignore", DeprecationWarning)
            dataset = self._dataset(items, prepare)
        try:
            with closing(iter(dataset.iter_batches(batch_size=None, batch_format="numpy"))) as batches:
                for batch in batches:
                    yield from batch["outcome"]
        except ray.exceptions.RayError as error:
            raise MarkError(
                f"Ray could not finish: {error}. What is in the index stays. Run it again, "
                "or take executor=local."
            ) from error
        finally:
            _join(set(threading.enumerate()) - threads)

    def _dataset(self, items: Sequence[Item], prepare: Prepare) -> Any:
        """Return what is to be done; it begins when it is asked for results."""
        import ray

        blocks = -(-len(items) // self.batch_size)
        rows = ray.data.from_items([{"item": item} for item in items], override_num_blocks=blocks)
        rows.context.execution_options.preserve_order = True
        rows.context.enable_progress_bars = False
        rows = self._stage(rows, _Read, {"prepare": prepare}, self.readers)
        if prepare.embedder is None:
            return rows
        return self._stage(rows, _Embed, {"embedder": prepare.embedder}, self.embedders)

    def _stage(self, rows: Any, work: type, settings: dict[str, Any], most: int | None) -> Any:
        import ray

        return rows.map_batches(
            work,
            fn_constructor_kwargs=settings,
            batch_size=self.batch_size,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most),
            num_cpus=1,
            max_restarts=RETRIES,
            max_task_retries=RETRIES,
        )

    def _check_room(self, cpus: float, embedder: Embedder | None) -> None:
        """Refuse a cluster in which the processes would wait for each other for ever."""
        least = 1 if embedder is None else 2
        if cpus < least:
            raise MarkError(
                f"The Ray cluster has {cpus:g} CPUs. Expected at least {least}: reading takes one, embedding "
                "another. Add some, or take executor=local."
            )


def _join(threads: set[threading.Thread]) -> None:
    """Wait for what Ray Data does on the side: Ray ends the whole process if a thread asks it too late."""
    end = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))


class _Read:
    """Reads and chunks in a worker."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare

    def __call__(self, batch: Batch) -> Batch:
        return {"outcome": [self._outcome(item) for item in batch["item"]]}

    def _outcome(self, item: Item) -> Prepared | Unreadable | MarkError:
        try:
            return prepare_item(item, self._prepare)
        except MarkError as error:  # Ray would retry it, and bury it in a traceback
            return error


class _Embed:
    """Embeds in a worker."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def __call__(self, batch: Batch) -> Batch:
        return {"outcome": self._with_vectors(batch["outcome"])}

    def _with_vectors(self, outcomes: Sequence[Any]) -> list[Any]:
        chunks = [chunk for each in outcomes if isinstance(each, Prepared) for chunk in each.chunks]
        try:
            made = iter(embed(chunks, self._embedder).tolist())
        except MarkError as error:
            return [error for _ in outcomes]
        return [
            replace(
                each, vectors=Vectors(self._embedder.name, {chunk.id: next(made) for chunk in each.chunks})
            )
            if isinstance(each, Prepared)
            else each
            for each in outcomes
        ]
