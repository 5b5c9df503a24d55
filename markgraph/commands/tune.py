"""`markgraph tune`: settings that are fitted to judged questions."""

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from markgraph.build import own_configs
from markgraph.commands.checks import OUTPUTS, check_choice, check_number
from markgraph.commands.judged import Judged, asking, judged
from markgraph.errors import ConfigError, StorageError
from markgraph.evaluation.tuning import Fit, ask_parts, fit
from markgraph.retrieval.fusion import Convex
from markgraph.retrieval.hybrid import HybridIndex

BAR = 40
"""Characters of the longest bar of the curve."""
NO_GAIN = 3


def run(config: DictConfig) -> int:
    """Fit what `config.what` names, print the fit, and return 0, or 3 where there is nothing to gain."""
    check_choice(config, "what", ("retriever",))
    check_choice(config, "output", OUTPUTS)
    check_number(config, "limit", 1, 10**9, optional=True)
    _check_name(config.name)
    ready = judged(config)
    index, fusion = _tunable(ready)
    with asking(len(ready.queries)) as bar:
        asked = []
        for query in ready.queries:
            asked.append(ask_parts(index.parts, query, ready.caller, index.depth))
            bar.update()
    found = fit(asked, ready.dataset, fusion, index.depth)
    written = _write(config, found, ready) if found.gains else None
    if config.output == "json":
        print(json.dumps(as_json(found, fusion, written, config.name), ensure_ascii=False))  # noqa: T201
    else:
        show(found, fusion, written, config.name)
    return 0 if found.gains else NO_GAIN


def _check_name(name: str) -> None:
    if not str(name).replace("-", "").replace("_", "").isalnum():
        raise ConfigError(f"Config 'name' has value {name!r}. Allowed: letters, digits, - and _.")


def _tunable(ready: Judged) -> tuple[HybridIndex, Convex]:
    """Return the index and its fusion, if there is a weight to fit."""
    index = ready.index
    if not isinstance(index, HybridIndex) or len(index.parts) < 2 or not isinstance(index.fusion, Convex):
        raise ConfigError(
            f"Index {index.name!r} has no weight to fit. Allowed: index=hybrid, or another HybridIndex of "
            "two parts or more whose fusion is a markgraph.retrieval.fusion.Convex."
        )
    return index, index.fusion


def _write(config: DictConfig, found: Fit, ready: Judged) -> Path:
    """Write an overlay that any command can name, and return where it is."""
    place = own_configs(config.data_dir) / "experiment" / f"{config.name}.yaml"
    gain = f"nDCG@10 {found.gain.mean:+.4f} [{found.gain.low:+.4f}, {found.gain.high:+.4f}]"
    text = (
        "# @package _global_\n"
        f'# markgraph ask "..." experiment={config.name}\n'
        f"# Fitted to {len(ready.queries)} queries of {ready.dataset.name}; {gain}, cross-validated.\n"
        f"index: {{fusion: {{weight: {found.weight:g}}}}}\n"
    )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
    except OSError as error:
        raise StorageError(f"Could not write {place}: {error}.") from error
    return place


def as_json(found: Fit, fusion: Convex, written: Path | None, name: str) -> dict[str, Any]:
    """Return what `output=json` prints."""
    return {
        "weight": found.weight,
        "configured": fusion.weight,
        "curve": [{"weight": weight, "ndcg@10": figure} for weight, figure in found.curve.items()],
        "ndcg@10": found.before._asdict(),
        "cross_validated": found.cross_validated._asdict(),
        "gain": found.gain._asdict(),
        "gains": found.gains,
        "written": written and str(written),
        "override": f"experiment={name}" if written else None,
    }


def show(found: Fit, fusion: Convex, written: Path | None, name: str) -> None:
    """Print the curve, what the weight is worth, and how to use it."""
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
    if written:
        console.print(f"Written to {written}. To use it: experiment={name}")
        console.print(f"Without the file: index.fusion.weight={found.weight:g}")
    else:
        console.print(
            "These queries show no gain over the configured weight, so nothing was written. More of them "
            f"may; to try it all the same: index.fusion.weight={found.weight:g}"
        )
