"""`markgraph evaluate suite=models`: perplexity, preferences, speed and memory of a model by itself."""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from tqdm import tqdm

from markgraph.build import make
from markgraph.commands.evaluated import folder_named, print_differences, subjects, table_of
from markgraph.commands.guarded import journal_of
from markgraph.errors import UsageError
from markgraph.evaluation.log import write_whole
from markgraph.evaluation.models import (
    foretell,
    pairs_in,
    perplexity_of,
    pieces_of,
    prefers,
    scores_of,
    speed,
)
from markgraph.evaluation.report import write_report
from markgraph.evaluation.summary import differences_of, means_of
from markgraph.json_text import json_text
from markgraph.launching.outcome import Outcome
from markgraph.models.catalog import weights_of
from markgraph.models.gate import evaluation
from markgraph.models.merge import weights_with
from markgraph.retrieval.storage import storage_errors
from markgraph.security.caller import Caller
from markgraph.security.policy import Need, Resource

FIGURES = ("perplexity", "prefill_tokens_per_s", "decode_tokens_per_s", "weights_mb", "state_kb_per_token")
"""What is no mean over questions, and so has no interval."""


def run(config: DictConfig) -> Outcome:
    """Measure, and print what came of it."""
    report: dict[str, Any] = {}
    key = ""
    for label, each in subjects(config):
        report, key = _evaluate(each, label)
    if config.output == "json":
        print(json_text(report))  # noqa: T201
    else:
        show(report, Console(highlight=False, soft_wrap=not sys.stdout.isatty()))
        print(f"Report: {Path(report['folder']) / 'report.html'}")  # noqa: T201
    figures = next(row for row in report["rows"] if row["key"] == key)
    return Outcome(0, figures["perplexity"], "perplexity", lower_is_better=True)


def _evaluate(config: DictConfig, label: str) -> tuple[dict[str, Any], str]:
    """Return the report on all that were measured with the same text and pairs, and this one's key."""
    caller: Caller = make(config, "auth").caller
    model: Any = OmegaConf.to_container(config.model, resolve=True)
    name = str(model.get("model", label))
    journal_of(config, "evaluate", caller).require(Need("models:use", Resource("model", name)))
    text, pairs = _text(config.text), pairs_in(Path(config.pairs).expanduser()) if config.pairs else []
    asked = repr((text, pairs, config.limit))
    folder = folder_named(config, f"models-{sha256(asked.encode()).hexdigest()[:10]}")
    settings = weights_of(model)
    key = sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    file = folder / "models" / f"{key[:16]}.json"
    if not (config.resume and file.exists()):
        measured = _measure(settings, text, pairs[: config.limit], label, config.text)
        began = json.loads(file.read_text("utf-8"))["began"] if file.exists() else _now()
        with storage_errors(file):
            write_whole(file, json_text({"label": label, "key": key, "began": began, **measured}))
    return _report(folder), key


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _text(file: str | None) -> str:
    """Return what a model has to foretell.

    Raises:
        UsageError: it can't be read, or there is nothing in it.
    """
    try:
        text = str(evaluation()["text"]) if file is None else Path(file).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Could not read text={file}: {error}. Expected a file of text in UTF-8.") from error
    if not text.strip():
        raise UsageError(f"There is nothing in text={file}. Expected a file of text in UTF-8.")
    return text


def _measure(
    settings: Mapping[str, Any], text: str, pairs: Any, label: str, file: str | None
) -> dict[str, Any]:
    """Return the figures and scores of the model that is served with these settings.

    Raises:
        UsageError: the text, which is that of `file`, is too short.
    """
    from markgraph.engines.native.load import load_decoder
    from markgraph.models.quantize import tensor_bytes
    from markgraph.models.weights import load_tokenizer, safetensors_folder

    folder = safetensors_folder(
        weights_with(settings["source"], settings.get("sha256"), settings.get("adapter"))
    )
    before = tensor_bytes()
    tokenizer, decoder = load_tokenizer(folder), load_decoder(folder, settings.get("mode", "exact"))
    taken = tensor_bytes() - before
    pieces = pieces_of(text)
    with tqdm(total=len(pieces) + len(pairs), desc=label[:40], disable=None, file=sys.stderr) as bar:
        foretold = [foretell(decoder, tokenizer, piece) for piece in pieces if not bar.update()]
        if not any(each.size for each in foretold):
            raise UsageError(
                f"text={file} has nothing to foretell: no stretch of it has a second token. Allowed: a file "
                "with a paragraph of two tokens or more."
            )
        preferred = [prefers(decoder, tokenizer, pair) for pair in pairs if not bar.update()]
    figures = {
        "perplexity": round(perplexity_of(foretold), 3),
        **speed(decoder, tokenizer, text),
        "weights_mb": round(taken / 1e6, 1),
        "state_kb_per_token": round((decoder.bytes_for(1024) - decoder.bytes_for(1)) / 1023 / 1e3, 2),
    }
    return {"figures": figures, "scores": scores_of(foretold, preferred)}


def _report(folder: Path) -> dict[str, Any]:
    """Write and return the report on everybody who is in the folder."""
    found = [json.loads(file.read_text("utf-8")) for file in sorted((folder / "models").glob("*.json"))]
    found.sort(key=lambda each: (each["began"], each["label"]))
    first = found[0]
    rows = [
        {"subject": each["label"], "key": each["key"], **means_of(each["scores"]), **each["figures"]}
        for each in found
    ]
    differences = [
        {"subject": each["label"], "to": first["label"], **differences_of(first["scores"], each["scores"])}
        for each in found[1:]
    ]
    report = {
        "suite": "models",
        "metrics": list(first["scores"]),
        "figures": FIGURES,
        "rows": rows,
        "differences": differences,
        "folder": str(folder),
    }
    write_report(folder, report, [])
    return report


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print a column for each model, and below it how the others stand to the first."""
    console.print(table_of(report, FIGURES))
    print_differences(report, report["metrics"], console)
