"""`markgraph models`: which there are, what their number formats cost, and writing them for other engines."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from markgraph.commands import models_registered as registered
from markgraph.commands.checks import OUTPUTS, check_choice
from markgraph.commands.printing import print_facts, print_json
from markgraph.errors import ConfigError
from markgraph.models.catalog import catalog, fetched, weights_of
from markgraph.models.gate import bounds_of, parameters, remembered
from markgraph.models.manifest import write_manifest
from markgraph.models.quality import Bounds, Quality
from markgraph.models.source import digest, resolve
from markgraph.models.tiers import gigabytes
from markgraph.models.weights import safetensors_folder

if TYPE_CHECKING:
    from markgraph.models.quantize import Report

MODES = ("fast", "small")
"""Modes that quantise."""
TARGETS = ("onnx", "openvino", "triton")
TOO_FAR = 1
"""The exit code where a bound is broken."""


def run(config: DictConfig) -> int:
    """Do what the action says, and return its exit code."""
    action, _, name = str(config.action).partition(" ")
    config.action = action
    check_choice(config, "action", (*ACTIONS, "promote", "retire"))
    check_choice(config, "output", OUTPUTS)
    if name or action not in ACTIONS:
        return registered.run(config, action, name)
    return ACTIONS[action](config)


def list_models(config: DictConfig) -> int:
    """Print the options of `conf/model`, and what the caller's tenant has registered."""
    found = [*catalog(), *registered.listed(config)]
    if config.output == "json":
        print_json([asdict(each) for each in found])
        return 0
    table = Table("model", "tier", "weights", "what it is", box=None, padding=(0, 2, 0, 0))
    for each in found:
        here = "none" if each.source is None else "here" if each.fetched else "not fetched"
        table.add_row(each.name, ", ".join(each.tiers), here, each.about)
    Console(highlight=False, markup=False).print(table)
    return 0


def show_model(config: DictConfig) -> int:
    """Print one model, and what is known of it on this machine; nothing is fetched for that."""
    settings = _weights(config)
    place = fetched(settings["source"])
    about = {
        "model": config.model.get("model"),
        "source": settings["source"],
        "sha256": settings.get("sha256"),
        "engine": settings["_target_"],
        "mode": settings.get("mode"),
        "weights": str(place) if place else None,
    }
    noted: dict[str, dict[int, Quality] | None] = {}
    if place:
        folder = safetensors_folder(place)
        about["parameters"] = parameters(folder)
        noted = {mode: remembered(folder, mode) for mode in MODES}
        about["checked"] = {
            mode: {width: asdict(quality) for width, quality in found.items()}
            for mode, found in noted.items()
            if found
        }
    if config.output == "json":
        print_json(about)
    else:
        checked = {mode: _worst(found) for mode, found in noted.items() if found}
        print_facts(about | {"checked": "; ".join(f"{mode}: {text}" for mode, text in checked.items())})
    return 0


def quantize_model(config: DictConfig) -> int:
    """Compare a mode with the unquantised model; 0 if it is within the bounds."""
    from markgraph.models.quantize import quantize

    settings = _weights(config)
    mode = config.mode or settings.get("mode") or MODES[0]
    if mode not in MODES:
        raise ConfigError(f"Config 'mode' has value {mode!r}. Allowed: {', '.join(MODES)}.")
    usual = bounds_of(mode)
    bounds = Bounds(_share(config, "kl", usual.kl, 10.0), _share(config, "top1", usual.top1, 1.0))
    report = quantize(_folder(settings), mode, bounds)
    if config.output == "json":
        print_json(asdict(report) | {"passed": not report.broken})
    else:
        _print_report(report)
    return TOO_FAR if report.broken else 0


def export(config: DictConfig) -> int:
    """Write the model in the form of another engine."""
    check_choice(config, "to", TARGETS)
    if config.folder is None:
        raise ConfigError("Config 'folder' has no value. Allowed: the folder to write into, folder=DIR.")
    from markgraph.models.export import export_model

    settings = _weights(config)
    report = export_model(
        settings["source"], settings.get("sha256"), config.to, Path(config.folder), config.name
    )
    if config.output == "json":
        print_json(asdict(report))
    else:
        print_facts(asdict(report))
    return 0


def write_folder_manifest(config: DictConfig) -> int:
    """Write down what the files of a folder are, so that it loads no other way."""
    if config.folder is None or not Path(config.folder).is_dir():
        raise ConfigError(
            f"Config 'folder' has value {config.folder!r}. Allowed: the folder of a model or an adapter."
        )
    place = write_manifest(Path(config.folder))
    about = {"manifest": str(place), "sha256": digest(place.parent)}
    if config.output == "json":
        print_json(about)
    else:
        print_facts(about)
    return 0


ACTIONS: Mapping[str, Callable[[DictConfig], int]] = {
    "list": list_models,
    "show": show_model,
    "quantize": quantize_model,
    "export": export,
    "manifest": write_folder_manifest,
}


def _weights(config: DictConfig) -> Mapping[str, Any]:
    """Return the settings of the model that is asked about, if the caller may use it."""
    model = cast(Mapping[str, Any], OmegaConf.to_container(config.model, resolve=True))
    return registered.usable(config, weights_of(model))


def _worst(found: Mapping[int, Quality]) -> str:
    """Return the figures of the width at which a mode is farthest off."""
    kl, top1 = max(each.kl for each in found.values()), min(each.top1 for each in found.values())
    return f"KL {kl:.4f} nats, top-1 {top1:.3f}"


def _folder(settings: Mapping[str, Any]) -> Path:
    return safetensors_folder(resolve(settings["source"], settings.get("sha256")))


def _share(config: DictConfig, key: str, usual: float, most: float) -> float:
    """Return the number that `key` holds, or what is usual where it is null."""
    value = config[key]
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ConfigError(f"Config {key!r} has value {value!r}. Allowed: a number, 0 to {most:g}.")
    return float(value)


def _print_report(report: "Report") -> None:
    console = Console(highlight=False, markup=False)
    table = Table("", "exact", report.mode, box=None, padding=(0, 2, 0, 0))
    before, after = report.before, report.after
    table.add_row("memory", gigabytes(before.nbytes), gigabytes(after.nbytes))
    each = [f"{form.nbytes / report.parameters:.2f}" for form in (before, after)]
    table.add_row("bytes a parameter", *each)
    table.add_row("prompt, tokens/s", f"{before.speed.prefill:.0f}", f"{after.speed.prefill:.0f}")
    table.add_row("answer, tokens/s", f"{before.speed.decode:.0f}", f"{after.speed.decode:.0f}")
    for width, quality in report.quality.items():
        perplexity = [f"{value:.3f}" for value in quality.perplexity]
        table.add_row(f"perplexity, reading {width} at once", *perplexity)
        table.add_row("    KL divergence, nats", "", f"{quality.kl:.4f}")
        table.add_row("    top-1 agreement", "", f"{quality.top1:.3f}")
    table.add_row("answers that stay the same", "", f"{report.answers.identical:.2f}")
    table.add_row("tokens before the first that differs", "", f"{report.answers.tokens:.2f}")
    console.print(f"{report.model}, {report.parameters / 1e6:.0f} M parameters\n", table, sep="\n")
    allowed = f"KL at most {report.bounds.kl}, top-1 at least {report.bounds.top1}"
    if report.broken:
        broken = "; ".join(report.broken)
        console.print(f"\nRefused: {broken}. Choose another mode, or raise the bound.")
    else:
        console.print(f"\nPassed: {allowed}. What was measured is kept for this machine.")
