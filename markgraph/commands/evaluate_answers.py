"""`markgraph evaluate suite=answers`: how good the answers are, of a model or of a whole graph."""

import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from tqdm import tqdm

from markgraph.audit.configs import composed
from markgraph.build import Graph, build_graph, make, make_service
from markgraph.commands.checks import check_choice
from markgraph.commands.evaluated import folder_named, print_differences, subjects, table_of
from markgraph.commands.guarded import journal_of
from markgraph.commands.judged import judged
from markgraph.evaluation.questions import Questions
from markgraph.evaluation.report import keep_settings
from markgraph.json_text import json_text
from markgraph.launching.outcome import Outcome
from markgraph.security.caller import Caller
from markgraph.security.policy import Need, Resource

NOT_ACCEPTED = 3
USUAL = "f1"
"""What a sweep looks at, unless `metric` says."""
OVER = ("passages", "graph")
FURTHER = ("p50_ms", "p95_ms", "tokens_per_s", "input_tokens")
"""Rows of the table that are no scores."""


def run(config: DictConfig) -> Outcome:
    """Ask, score, print what came of it; 0, or `NOT_ACCEPTED` where the last one fails the gate."""
    check_choice(config, "over", OVER)
    done: dict[str, Any] = {}
    for label, each in subjects(config):
        done = _evaluate(each, label)
    if config.output == "json":
        print(json_text(done["report"]))  # noqa: T201
    else:
        show(done["report"], Console(highlight=False, soft_wrap=not sys.stdout.isatty()))
        print(f"Report: {Path(done['folder']).expanduser() / 'report.html'}")  # noqa: T201
    own = (each for each in done["report"]["differences"] if each["key"] == done["key"])
    accepted = all(each.get("accepted", True) for each in own)
    figures = next(row for row in done["report"]["rows"] if row["key"] == done["key"])
    return Outcome(
        0 if accepted else NOT_ACCEPTED, figures.get(config.metric or USUAL), config.metric or USUAL
    )


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
    done = _run(build_graph(config, **services), {"resume": config.resume}, caller, label)
    return {**done, "key": about.hash}


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
    told = sha256(f"{questions.fingerprint} {config.over}".encode()).hexdigest()[:10]
    return folder_named(config, f"answers-{questions.name}-{config.over}-{told}")


def _run(graph: Graph, request: dict[str, Any], caller: Caller, label: str) -> dict[str, Any]:
    """Run the graph with a progress bar on stderr."""
    done: dict[str, Any] = {}
    with tqdm(desc=label[:40], unit="question", disable=None, file=sys.stderr) as bar:
        stream: Iterator[Any] = graph.stream(request, context=caller, stream_mode=["updates", "values"])
        for mode, part in stream:
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
    console.print(table_of(report, FURTHER))
    console.print(
        f"{report['questions']} questions; in brackets where 95 % of the means of resampled questions lie.",
        markup=False,
    )
    print_differences(report, ("f1", "groundedness", "refusal"), console)
    for each in (found for found in report["differences"] if "accepted" in found):
        told = "accepted" if each["accepted"] else f"not accepted: {'; '.join(each['reasons'])}"
        console.print(f"{each['subject']}: {told}.", markup=False)
