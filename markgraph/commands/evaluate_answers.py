"""`markgraph evaluate suite=answers`: how good the answers are, of a model or of a whole graph."""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tqdm import tqdm

from markgraph.audit.configs import composed
from markgraph.build import Graph, build_graph, compose, make, make_service
from markgraph.commands.checks import check_choice
from markgraph.commands.guarded import journal_of
from markgraph.commands.judged import judged
from markgraph.errors import ConfigError
from markgraph.evaluation.questions import Questions
from markgraph.evaluation.report import keep_settings, verdict_of
from markgraph.evaluation.scoring import METRICS
from markgraph.security.caller import Caller
from markgraph.security.policy import Need, Resource

OVER = ("passages", "graph")
FURTHER = {"p50 ms": "p50_ms", "p95 ms": "p95_ms", "tokens/s": "tokens_per_s", "tokens read": "input_tokens"}
"""Rows of the table that are no scores."""


def run(config: DictConfig) -> int:
    """Ask, score, print what came of it, and return 0."""
    check_choice(config, "over", OVER)
    done: dict[str, Any] = {}
    for label, each in _subjects(config):
        done = _evaluate(each, label)
    if config.output == "json":
        print(json.dumps(done["report"], ensure_ascii=False))  # noqa: T201
    else:
        show(done["report"], Console(highlight=False, soft_wrap=not sys.stdout.isatty()))
        print(f"Report: {Path(done['folder']).expanduser() / 'report.html'}")  # noqa: T201
    return 0


def _subjects(config: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """Yield what is asked, with what the report calls it: each of `configs`, or else the config itself."""
    running = HydraConfig.get() if HydraConfig.initialized() else None
    if config.configs is None:
        swept = running is not None and running.mode == RunMode.MULTIRUN
        usual = running.job.override_dirname if running and swept else config.model.model
        yield str(config.label or usual), config
        return
    if not config.configs:
        raise ConfigError("Config 'configs' is empty. Allowed: overrides, configs=['model=a','model=b'].")
    given = [each for each in running.overrides.task if not each.startswith("configs=")] if running else []
    for words in config.configs:
        yield str(words), compose("evaluate", [*given, *shlex.split(str(words))])


def _evaluate(config: DictConfig, label: str) -> dict[str, Any]:
    """Return what the graph `evaluate` does for one subject."""
    caller: Caller = make(config, "auth").caller
    need = Need("documents:read", Resource("dataset", str(config.dataset)))
    journal_of(config, "evaluate", caller).require(need)
    questions: Questions = make(config.graph, "questions")
    services: dict[str, Any] = {}
    if config.over == "graph" and questions.dataset is not None:
        corpus = questions.dataset
        ready = judged(config, "evaluate", lambda _: corpus)
        services = {
            "index": ready.index,
            "rerank": ready.refine,
            "embedder": ready.embedder,
            "citations": None,
        }
    config = config.copy()
    about = composed(_asked(config))
    folder = _folder(config, questions)
    own = config.over == "graph" and questions.dataset is None
    texts = not own or make_service(config, "seal") is None
    with open_dict(config):
        config.graph.log.update({"folder": str(folder), "label": label, "key": about.hash, "texts": texts})
    keep_settings(folder, about.hash, about.text)
    return _run(build_graph(config, **services), {"resume": config.resume}, caller, label)


def _asked(config: DictConfig) -> DictConfig:
    """Return the config of what is asked only: of the graph, or of the model with its prompt."""
    asked = config.copy()
    with open_dict(asked):
        whole: Any = OmegaConf.to_container(config.graph.asked)
        parts = {key: whole[key] for key in ("model", "generate")}
        asked.graph = whole if config.over == "graph" else parts
    return asked


def _folder(config: DictConfig, questions: Questions) -> Path:
    """Return where everybody is kept who was asked these questions in this way."""
    told = f"{questions.fingerprint} {config.over}"
    name = config.run or f"answers-{questions.name}-{config.over}-{sha256(told.encode()).hexdigest()[:10]}"
    if Path(str(name)).name != str(name):
        raise ConfigError(f"Config 'run' has value {name!r}. Allowed: the name of a folder, without a path.")
    return Path(config.data_dir) / "evaluations" / str(name)


def _run(graph: Graph, request: dict[str, Any], caller: Caller, label: str) -> dict[str, Any]:
    """Run the graph with a progress bar on stderr."""
    done: dict[str, Any] = {}
    with tqdm(desc=label[:40], unit="question", disable=None, file=sys.stderr) as bar:
        for mode, part in graph.stream(request, context=caller, stream_mode=["updates", "values"]):
            if mode == "values":
                done = part
            elif "load" in part:
                bar.reset(total=part["load"]["total"])
                bar.update(part["load"]["total"] - len(part["load"]["left"]))
            elif "score" in part:
                bar.update(bar.total - len(part["score"]["left"]) - bar.n)
    return done


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print a column for each that was asked, and below it how the others stand to the first."""
    rows = report["rows"]
    table = Table("", *(escape(row["subject"]) for row in rows), box=None)
    for metric in METRICS:
        figures = ((row[metric], *row["intervals"][metric]) for row in rows)
        table.add_row(
            metric.replace("_", " "), *(f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in figures)
        )
    for name, key in FURTHER.items():
        table.add_row(name, *(str(row[key]) for row in rows))
    console.print(table)
    console.print(
        f"{report['questions']} questions; in brackets where 95 % of the means of resampled questions lie.",
        markup=False,
    )
    for each in report["differences"]:
        for metric in ("f1", "groundedness", "refusal"):
            found = each["metrics"][metric]
            console.print(
                f"{each['subject']} - {each['to']}: {metric} {found['mean']:+.4f} "
                f"[{found['low']:+.4f}, {found['high']:+.4f}], {verdict_of(found)}.",
                markup=False,
            )
