"""The models that the config knows: what each is, where its weights come from, whether they are here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from markgraph.errors import ConfigError
from markgraph.models.source import cache_folder, resolve
from markgraph.models.tiers import tiers


@dataclass(frozen=True)
class Listed:
    """An option of `conf/model`."""

    name: str
    about: str
    """The comment in the file that says what it is."""
    tiers: tuple[str, ...]
    """The tiers that choose it."""
    source: str | None
    """Reference to its weights; None for a model without."""
    fetched: Path | None
    """Where they are on this machine; None until they are first used."""


def catalog() -> list[Listed]:
    """Return the options of `conf/model`, by name."""
    chosen = tiers()
    found = []
    for file in sorted((files("markgraph.conf") / "model").iterdir(), key=lambda file: file.name):
        name, kind = file.name.rsplit(".", 1)
        if kind == "yaml":
            text = file.read_text("utf-8")
            source = settings_of(yaml.safe_load(text)).get("source")
            about = text.splitlines()[1].removeprefix("# ")
            of = tuple(tier.name for tier in chosen if tier.model == name)
            found.append(Listed(name, about, of, source, fetched(source) if source else None))
    return found


def settings_of(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of the engine that a model's config names: MARK's own, where there are two."""
    engine: Mapping[str, Any] = model.get("engine", {})
    managed: Mapping[str, Any] = engine.get("engine", engine)
    weights = {key: managed[key] for key in ("source", "sha256", "adapter") if key in managed}
    own = {**managed["native"], **weights} if "native" in managed else managed
    return {key: value for key, value in own.items() if key != "_partial_"}


def weights_of(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the same for a model that must have weights here.

    Raises:
        ConfigError: it has none.
    """
    settings = settings_of(model)
    if not settings.get("source"):
        having = ", ".join(each.name for each in catalog() if each.source)
        raise ConfigError(f"This model has no weights of its own. Allowed: model={having}.")
    return settings


def fetched(reference: str) -> Path | None:
    """Return where the weights of `reference` are on this machine, without fetching or checking them."""
    scheme, _, place = reference.partition(":")
    if scheme == "file":
        path = Path(place).expanduser()
        return path if path.exists() else None
    if scheme in ("registered", "package"):  # never fetched
        return resolve(reference)
    for shelf in (cache_folder() / "weights" / scheme).glob("*.json"):
        noted = json.loads(shelf.read_text("utf-8") or "{}")
        if reference in noted:
            return shelf.parent / str(noted[reference]["path"])
    return None
