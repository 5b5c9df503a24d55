"""What a graph was built from, as the audit log remembers it."""

import json
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from omegaconf import DictConfig, OmegaConf

from markgraph.audit.types import Composed

_REFERENCE = re.compile(r"\$\{\s*(\w+)")
_SECRET = re.compile(r"(^|_)(key|token|secret|password|credentials?)$", re.IGNORECASE)
NO_MATTER = {"audit", "checkpoint", "limits", "policy", "seal"}
"""Services that no answer depends on: what the caller might do and read is taken down with each run."""
WITHHELD = "(withheld)"
"""Stands for a secret that the config itself held."""


def composed(config: DictConfig, given: Sequence[str] = ()) -> Composed:
    """Return what `config` says of its graph, and of everything that the graph refers to.

    What the verb was given besides, a question for one, is not part of it. Interpolations stay as they are
    written, and so do secrets that are read from the environment.

    Args:
        config: as composed.
        given: services that an app passed in, instead of those of the config.
    """
    whole: Any = OmegaConf.to_container(config)
    wanted, seen = ["graph"], set()
    while wanted:
        name = wanted.pop()
        if name in whole and name not in seen:
            seen.add(name)
            wanted += _REFERENCE.findall(json.dumps(whole[name]))
    kept = {name: _without_secrets(whole[name]) for name in sorted(seen - {"audit", "checkpoint"})}
    text = json.dumps(kept, sort_keys=True, indent=1)
    model = {} if "model" in given else kept.get("model", {})
    digest = sha256(text.encode()).hexdigest()
    facts = {
        "config": digest,
        "seed": model.get("seed"),
        "weights": sorted(set(_values(model, "sha256"))),
        "given": sorted(set(given) - NO_MATTER),
    }
    return Composed(digest, text, facts)


def _without_secrets(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            key: WITHHELD if _is_secret(key, value) else _without_secrets(value)
            for key, value in part.items()
        }
    return [_without_secrets(each) for each in part] if isinstance(part, list) else part


def _is_secret(key: str, value: object) -> bool:
    return bool(isinstance(value, str) and _SECRET.search(str(key)) and not value.startswith("${"))


def _values(part: Any, key: str) -> Iterator[str]:
    """Yield the strings that stand under `key` anywhere in `part`."""
    if isinstance(part, dict):
        yield from (str(value) for name, value in part.items() if name == key and value)
        for value in part.values():
            yield from _values(value, key)
    elif isinstance(part, list):
        for each in part:
            yield from _values(each, key)
