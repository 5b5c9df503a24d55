"""`markgraph reindex`: a collection to another embedder, while it serves."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from markgraph.build import compose, make, make_service
from markgraph.commands.checks import OUTPUTS, check_choice, check_number
from markgraph.commands.guarded import journal_of
from markgraph.errors import ConfigError, EmptyIndexError, StorageError, UsageError
from markgraph.ingestion.lock import alone
from markgraph.retrieval.generations import SwitchableIndex
from markgraph.retrieval.reindex import Move, Report
from markgraph.retrieval.storage import storage_errors
from markgraph.security.caller import Caller
from markgraph.security.policy import writing


def run(config: DictConfig) -> int:
    """Move the collection to `config.embedder`, print a report, and return 0."""
    check_choice(config, "output", OUTPUTS)
    check_number(config, "sample", 1, 10_000)
    caller: Caller = make(config, "auth").caller
    journal_of(config, "reindex", caller).require(writing())
    index = make_service(config, "index")
    if not isinstance(index, SwitchableIndex):
        raise UsageError(
            "Only an index of vectors has an embedder: index=dense, index=chroma_server, or index=pgvector. "
            "index=dense is the part of a hybrid collection that searches by meaning."
        )
    if not index.index.generations():
        raise EmptyIndexError("Nothing has been ingested yet. Run `markgraph ingest FOLDER` first.")
    folder = Path(config.data_dir).expanduser() / config.collection
    option = _option()
    settings = changed_settings(config, option)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with tqdm(unit="chunk", desc="embedding", disable=None, file=sys.stderr) as bar:
        lock = FileLock(folder / "reindex.lock")
        move = Move(
            index.index,
            option,
            settings,
            alone=lambda: alone(folder),
            sample=config.sample,
            keep_old=config.keep_old,
            begin=bar.reset,
            progress=bar.update,
        )
        try:
            with lock.acquire(timeout=0):
                report = move.run()
        except Timeout:
            raise StorageError("Another reindex of this collection is running. Wait for it.") from None
    show(report, config.output)
    return 0


def _option() -> str:
    """Return which option of the group is moved to; say so where nobody has said what to move to."""
    hydra = HydraConfig.get()
    option = str(hydra.runtime.choices["embedder"])
    if not any(each.startswith(("embedder=", "embedder.source=")) for each in hydra.overrides.task):
        print(f"No embedder=NAME is given: moving to the one that the config has, {option}.", file=sys.stderr)  # noqa: T201
    return option


def changed_settings(config: DictConfig, option: str) -> dict[str, str | int | float | bool | None]:
    """Return what `config.embedder` has that its option has not.

    Raises:
        ConfigError: it is another class than the option's, or holds more than plain values.
    """
    chosen: Any = OmegaConf.to_container(config.embedder, resolve=True)
    default: Any = OmegaConf.to_container(compose("reindex", [f"embedder={option}"]).embedder, resolve=True)
    changed = {key: value for key, value in chosen.items() if key not in default or value != default[key]}
    for key, value in changed.items():
        if key.startswith("_") or not (value is None or isinstance(value, str | int | float | bool)):
            raise ConfigError(
                f"embedder.{key}={value!r} can't be remembered with a collection. Allowed: an option of "
                "conf/embedder/ (embedder=NAME), and plain values for its settings."
            )
    return changed


def show(report: Report, output: str) -> None:
    """Print what was done."""
    if output == "json":
        print(json.dumps(asdict(report), ensure_ascii=False))  # noqa: T201
    elif report.switched:
        print(f"{report.chunks} chunks are searched with {report.embedder} from now on.")  # noqa: T201
    else:
        print(f"{report.chunks} chunks were searched with {report.embedder} already.")  # noqa: T201
