"""Checks of what a config names: models, stores, and the parts that keep strangers out."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from markgraph.build import make
from markgraph.errors import MarkError, UnsafeError
from markgraph.models.catalog import fetched
from markgraph.models.manifest import NAME, check_manifest, combined, hashes, refuse_code
from markgraph.models.weights import conversions
from markgraph.security.found import Found
from markgraph.security.limits import Limits
from markgraph.security.redis_counters import RedisCounters
from markgraph.security.sealing.masters import Masters


def _private(settings: Mapping[str, Any]) -> Found:
    folder = Path(settings["data_dir"]).expanduser()
    if not folder.exists():
        return Found("ok", f"{folder} is not there yet; commands make it for its owner only")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        return Found("failed", f"{folder} has mode {mode:04o}: others may enter", f"chmod 700 {folder}")
    return Found("ok", f"{folder} is its owner's only")


def _models(settings: Mapping[str, Any]) -> Found:
    """Compare the bytes of every model that is configured with its pin or its manifest."""
    references = dict.fromkeys(_references(settings))
    loose: list[str] = []
    for reference, pin in references:
        try:
            loose += _loose(reference, pin)
        except (MarkError, OSError) as error:
            return Found("failed", str(error).rstrip("."), "Don't load it before you know why")
    if loose:
        return Found("off", f"nothing vouches for {', '.join(loose)}", _PIN)
    if not references:
        return Found("ok", "none has weights on this machine")
    return Found("ok", f"{len(references)} are, byte by byte, what the config or a manifest says")


_PIN = "Set its sha256, or write a manifest: markgraph models manifest folder=DIR"


def _references(part: Any) -> Iterator[tuple[str, str | None]]:
    """Yield each reference to weights in a config, with its pin."""
    if isinstance(part, list):
        for each in part:
            yield from _references(each)
    if isinstance(part, dict):
        if str(part.get("source", "")).startswith(("pypi:", "hf:", "file:")):
            yield part["source"], part.get("sha256")
        if part.get("draft"):
            yield part["draft"], None
        yield from ((reference, None) for reference in (part.get("adapters") or {}).values())
        for key, each in part.items():
            if key not in ("adapters", "corpus"):
                yield from _references(each)


def _loose(reference: str, pin: str | None) -> list[str]:
    """Return what of these files, and of what was made from them, neither config nor manifest vouches for.

    Raises:
        MarkError: they are something else than these say.
    """
    place = fetched(reference)
    if place is None:
        return [] if pin else [reference]  # a pin is checked when the files are fetched
    folders = [place] if place.is_dir() else conversions(place)
    for folder in folders:
        refuse_code(folder)
        check_manifest(folder, by_bytes=True)
    if pin and (got := combined(hashes(place))) != pin.lower():
        raise UnsafeError(f"{reference} is not what was pinned. Got SHA-256 {got}. Allowed: {pin}.")
    loose = [
        str(folder) for folder in folders if not ((folder == place and pin) or (folder / NAME).is_file())
    ]
    return loose if pin or place.is_dir() else [reference, *loose]


def _chroma(settings: Mapping[str, Any]) -> Found:
    if any(part.get("allow_remote") for part in _parts(settings)):
        advice = "Run it on this machine, or behind a tunnel that authenticates"
        return Found("failed", "its server is elsewhere, and asks nobody who they are", advice)
    return Found("ok", "is embedded, or a server of this machine that is not the Python one")


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in a config."""
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _parts(each)


def _part(name: str, check: Callable[[Mapping[str, Any]], Found], settings: Mapping[str, Any]) -> Found:
    """Return what is to be said of the part that a config group configures: it may not be able to work."""
    part = settings.get(name)
    target = str((part or {}).get("_target_", ""))
    if not target or target.endswith((".none", ".LocalDoor")):
        return Found("off", "is not configured", f"Set {_ON[name]}")
    try:
        return check(settings)
    except MarkError as error:
        return Found("failed", str(error).rstrip("."))


_ON = {
    "auth": "auth=oidc, or auth=dev; auth=none takes everybody at this machine for one person",
    "limits": "limits=memory, or limits=redis for several servers",
    "seal": "seal=keyring",
    "audit": "audit=file",
}


def _door(settings: Mapping[str, Any]) -> Found:
    _made("auth", settings)
    return Found("ok", f"is {_chosen('auth')}")


def _limits(settings: Mapping[str, Any]) -> Found:
    """Make the limits, and ask Redis, without which each server counts by itself."""
    made = _made("limits", settings)
    if isinstance(made, Limits) and isinstance(made.counters, RedisCounters):
        made.counters.check()
    if all(settings["limits"].get(name) is None for name in _BOUNDS):
        return Found("off", "limits nothing", f"Set one of {', '.join(f'limits.{name}' for name in _BOUNDS)}")
    return Found("ok", f"is {_chosen('limits')}")


_BOUNDS = ("requests", "tokens", "runs", "steps", "tool_calls", "wall_time")


def _graph(settings: Mapping[str, Any]) -> Found:
    """Compare what the graph is given with what the config has, which the other checks look at."""
    graph = settings.get("graph") or {}
    for name in ("policy", "audit", "limits"):
        if name in graph and graph[name] != settings.get(name):
            return Found("failed", f"is given another {name} than the config's", f"Leave graph.{name} out")
    return Found("ok", "keeps to the policy, the log and the limits of the config")


def _made(name: str, settings: Mapping[str, Any]) -> Any:
    """Return the part that a config group configures.

    Raises:
        MarkError: it can't be made.
    """
    return make(OmegaConf.create(dict(settings)), name)


def _chosen(group: str) -> str:
    """Return the option of a group that the command line chose."""
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    return str(choices.get(group, "configured"))


def _keyring(settings: Mapping[str, Any]) -> Found:
    file = Path(settings["seal"]["file"]).expanduser()
    return Found("ok", f"{file} has {len(Masters(file).read())} keys")


def _audit(settings: Mapping[str, Any]) -> Found:
    """Verify the log, where there is one already."""
    from markgraph.audit.keys import Keys
    from markgraph.audit.verify import verify

    part = settings["audit"]
    folder, keys = Path(part["folder"]).expanduser(), Path(part["keys"]).expanduser()
    if not any(folder.glob("*.jsonl")):
        return Found("ok", f"there is no log in {folder} yet; it begins with the first request")
    if not os.access(folder, os.W_OK):
        return Found("failed", f"{folder} can't be written to", "Give it to the user that serves")
    report = verify(folder, Keys(keys))
    if report.problems:
        return Found("failed", "the log is not as it was written", "markgraph audit verify")
    return Found("ok", f"{report.records} records are as they were written")


CHECKS: Mapping[str, Callable[[Mapping[str, Any]], Found]] = {
    "graph": _graph,
    "data_dir": _private,
    "models": _models,
    "chroma": _chroma,
    "auth": partial(_part, "auth", _door),
    "limits": partial(_part, "limits", _limits),
    "seal": partial(_part, "seal", _keyring),
    "audit": partial(_part, "audit", _audit),
}
