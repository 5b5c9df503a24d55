"""`markgraph tune`: settings that are fitted to judged questions."""

import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from markgraph.commands.checks import OUTPUTS, check_choice, check_number
from markgraph.commands.judged import Judged, asking, judged
from markgraph.commands.terminal import printable
from markgraph.environment import CONFIG_MODULE, own_configs
from markgraph.errors import ConfigError, StorageError, UsageError
from markgraph.evaluation.tuning import Fit, ask_parts, fit
from markgraph.json_text import json_text
from markgraph.retrieval.fusion import Convex
from markgraph.retrieval.hybrid import HybridIndex

BAR = 40
"""Characters of the longest bar of the curve."""


def run(config: DictConfig) -> int:
    """Fit what `config.what` names, write the weight down, print what it is worth, and return 0."""
    if config.what is None:
        raise UsageError("Say what to fit, and to which questions: markgraph tune retriever dataset=FOLDER")
    check_choice(config, "what", ("retriever",))
    check_choice(config, "output", OUTPUTS)
    check_number(config, "limit", 1, 10**9, optional=True)
    _check_name(config.name)
    ready = judged(config, "tune")
    index, fusion = _tunable(ready)
    with asking(len(ready.queries)) as bar:
        asked = []
        for query in ready.queries:
            asked.append(ask_parts(index.parts, query, ready.caller, index.depth))
            bar.update()
    found = fit(asked, ready.dataset, fusion, index.depth)
    kept = found.weight if found.gains else fusion.weight
    written = _write(config, found, kept, ready)
    if config.output == "json":
        told = {"weight": kept, "written": str(written), "override": f"experiment={config.name}"}
        print(json_text(told | as_json(found, fusion)))  # noqa: T201
    else:
        show(found, fusion)
        print(f"Written to {written}. To use it: experiment={config.name}")  # noqa: T201
        print(f"Without the file: index.fusion.weight={kept:g}")  # noqa: T201
    return 0


def _check_name(name: object) -> None:
    """Refuse what is no file name, and what an overlay of the package has: Hydra would take that one."""
    if not re.fullmatch(r"[\w-]+", str(name), re.ASCII):
        raise ConfigError(f"Config 'name' has value {name!r}. Allowed: letters, digits, - and _.")
    if files(CONFIG_MODULE).joinpath("experiment", f"{name}.yaml").is_file():
        raise ConfigError(
            f"Config 'name' has value {name!r}, which is an overlay of the package. Choose another."
        )


def _tunable(ready: Judged) -> tuple[HybridIndex, Convex]:
    """Return the index and its fusion, if there is a weight to fit."""
    index = ready.index
    if not isinstance(index, HybridIndex) or len(index.parts) < 2 or not isinstance(index.fusion, Convex):
        raise ConfigError(
            f"Index {index.name!r} has no weight to fit. Allowed: index=hybrid, or another HybridIndex of "
            "two parts or more whose fusion is a markgraph.retrieval.fusion.Convex."
        )
    return index, index.fusion


def _write(config: DictConfig, found: Fit, kept: float, ready: Judged) -> Path:
    """Write an overlay that any command can name, and return where it is."""
    verdict = "cross-validated" if found.gains else "no gain: the weight is the configured one"
    place = own_configs(config.data_dir) / "experiment" / f"{config.name}.yaml"
    gain = f"nDCG@10 {found.gain.mean:+.4f} [{found.gain.low:+.4f}, {found.gain.high:+.4f}]"
    asked = " ".join(printable(ready.dataset.name).split())  # a comment of one line
    text = (
        "# @package _global_\n"
        f'# markgraph ask "..." experiment={config.name}\n'
        f"# Fitted to {len(ready.queries)} queries of {asked}; {gain}, {verdict}.\n"
        f"index: {{fusion: {{weight: {kept:g}}}}}\n"
    )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    except OSError as error:
        raise StorageError(f"Could not write {place}: {error}.") from error
    return place


def as_json(found: Fit, fusion: Convex) -> dict[str, Any]:
    """Return a fit as plain data."""
    return {
        "fitted": found.weight,
        "configured": fusion.weight,
        "curve": [{"weight": weight, "ndcg@10": figure} for weight, figure in found.curve.items()],
        "ndcg@10": found.before._asdict(),
        "cross_validated": found.cross_validated._asdict(),
        "gain": found.gain._asdict(),
        "gains": found.gains,
    }


def show(found: Fit, fusion: Convex) -> None:
    """Print the curve, and what the fitted weight is worth."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), markup=False)
    best = max(found.curve.values()) or 1.0
    for weight, figure in found.curve.items():
        mark = " <- fitted" if weight == found.weight else ""
        console.print(Text(f"{weight:5.3f}  {figure:.4f}  {'█' * round(BAR * figure / best)}{mark}"))
    before, after, gain = found.before, found.cross_validated, found.gain
    console.print(f"\nnDCG@10 with weight {fusion.weight:g}, as configured: {before.mean:.4f}")
    console.print(f"nDCG@10 with a fitted weight, cross-validated: {after.mean:.4f}")
    console.print(
        f"gain: {gain.mean:+.4f}, 95 % of resampled means within {gain.low:+.4f} to {gain.high:+.4f}"
    )
    if not found.gains:
        console.print(
            f"These queries show no gain, so the configured weight is kept. More of them may show one; "
            f"to try the fitted weight all the same: index.fusion.weight={found.weight:g}"
        )
