"""Who is evaluated, where what comes of it is kept, and how it is printed."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from markgraph.build import compose
from markgraph.errors import ConfigError
from markgraph.evaluation.report import verdict_of

HOW = {"suite", "dataset", "over", "run", "limit", "resume", "output", "text", "pairs", "label"}
ASKING = ("graph.questions", "graph.at_once", "graph.log")
"""Settings that are the same for everybody who is evaluated."""


def subjects(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """Yield what is evaluated, with what the report calls it: each of `configs`, or else the config itself.

    Raises:
        ConfigError: there are none, or one can't be composed.
    """
    running = HydraConfig.get() if HydraConfig.initialized() else None
    if config.configs is None:
        swept = running is not None and running.mode == RunMode.MULTIRUN
        usual = _swept(running.overrides.task) if running and swept else config.model.model
        yield str(config.label or usual), config
        return
    if not config.configs:
        raise ConfigError("Config 'configs' is empty. Allowed: overrides, configs=['model=a','model=b'].")
    given = [each for each in running.overrides.task if not each.startswith("configs=")] if running else []
    for words in config.configs:
        yield str(words), compose("evaluate", [*given, *shlex.split(str(words))])


def _swept(overrides: Sequence[str]) -> str:
    """Return the overrides that say what is evaluated, without those that say how."""
    told = [(each.lstrip("+~").partition("=")[0], each) for each in overrides]
    kept = [each.replace("\\ ", " ") for key, each in told if key not in HOW and not key.startswith(ASKING)]
    return " ".join(kept) or "config"


def folder_named(config: DictConfig, usual: str) -> Path:
    """Return the folder of an evaluation: of all that were asked the same.

    Raises:
        ConfigError: `run` is a path.
    """
    name = str(config.run or usual)
    if Path(name).name != name:
        raise ConfigError(f"Config 'run' has value {name!r}. Allowed: the name of a folder, without a path.")
    return Path(config.data_dir).expanduser() / "evaluations" / name


def table_of(report: Mapping[str, Any], further: Sequence[str]) -> Table:
    """Return a column for each that was evaluated: its scores with their intervals, and `further` figures."""
    rows = report["rows"]
    table = Table("", *(escape(row["subject"]) for row in rows), box=None)
    for metric in report["metrics"]:
        figures = ((row[metric], *row["intervals"][metric]) for row in rows)
        cells = (f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in figures)
        table.add_row(metric.replace("_", " "), *cells)
    for name in further:
        table.add_row(name.replace("_", " "), *(str(row[name]) for row in rows))
    return table


def print_differences(report: Mapping[str, Any], metrics: Sequence[str], console: Console) -> None:
    """Print how the others stand to the first."""
    for each in report["differences"]:
        for metric in (name for name in metrics if name in each["metrics"]):
            found = each["metrics"][metric]
            console.print(
                f"{each['subject']} - {each['to']}: {metric} {found['mean']:+.4f} "
                f"[{found['low']:+.4f}, {found['high']:+.4f}], {verdict_of(found)}.",
                markup=False,
            )
