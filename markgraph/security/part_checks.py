"""Checks of what a config names: models, stores, and the parts that keep strangers out."""

import base64
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from markgraph.errors import MarkError, UnsafeError
from markgraph.models.catalog import fetched
from markgraph.models.manifest import NAME, check_manifest, combined, hashes, refuse_code
from markgraph.models.weights import conversions
from markgraph.security.found import Found


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


def _part(name: str, check: Callable[[dict[str, Any]], Found], settings: Mapping[str, Any]) -> Found:
    """Return what is to be said of the part that a config group configures."""
    part = settings.get(name)
    target = str((part or {}).get("_target_", ""))
    if not target or target.endswith((".none", ".LocalDoor")):
        return Found("off", "is not configured", f"Set {_ON[name]}")
    return check(dict(part or {}))


_ON = {
    "auth": "auth=oidc, or auth=dev; auth=none takes everybody at this machine for one person",
    "limits": "limits=memory, or limits=redis for several servers",
    "seal": "seal=keyring",
    "audit": "audit=file",
}


def _configured(part: dict[str, Any]) -> Found:
    return Found("ok", f"is {str(part['_target_']).rpartition('.')[2]}")


def _keyring(part: dict[str, Any]) -> Found:
    """Look for a key of 32 bytes in a file that is its owner's only."""
    file = Path(part["file"]).expanduser()
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        keys = [base64.b64decode(key, validate=True) for key in json.loads(file.read_text("utf-8")).values()]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return Found("failed", f"{file} is no keyring: {type(error).__name__}", "markgraph keys rotate")
    if mode & 0o077:
        return Found("failed", f"{file} has mode {mode:04o}: others may read it", f"chmod 600 {file}")
    if not keys or any(len(key) != 32 for key in keys):
        return Found("failed", f"{file} has no key, or one that is not of 32 bytes", "markgraph keys rotate")
    return Found("ok", f"{file} has {len(keys)} keys of 32 bytes")


def _audit(part: dict[str, Any]) -> Found:
    """Verify the log, where there is one already."""
    folder, keys = Path(part["folder"]).expanduser(), Path(part["keys"]).expanduser()
    if not any(folder.glob("*.jsonl")):
        return Found("ok", f"there is no log in {folder} yet; it begins with the first request")
    if not os.access(folder, os.W_OK):
        return Found("failed", f"{folder} can't be written to", "Give it to the user that serves")
    verify, keys_of = (import_module(f"markgraph.audit.{name}") for name in ("verify", "keys"))
    try:
        report = verify.verify(folder, keys_of.Keys(keys))
    except MarkError as error:
        return Found("failed", str(error).rstrip("."), "markgraph audit verify")
    if report.problems:
        return Found("failed", "the log is not as it was written", "markgraph audit verify")
    return Found("ok", f"{report.records} records are as they were written")


CHECKS: Mapping[str, Callable[[Mapping[str, Any]], Found]] = {
    "data_dir": _private,
    "models": _models,
    "chroma": _chroma,
    "auth": partial(_part, "auth", _configured),
    "limits": partial(_part, "limits", _configured),
    "seal": partial(_part, "seal", _keyring),
    "audit": partial(_part, "audit", _audit),
}
