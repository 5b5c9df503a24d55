"""What a graph was built from, as the audit log remembers it."""

import json
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from omegaconf import DictConfig, OmegaConf

from markgraph.audit.types import Composed

_REFERENCE = re.compile(r"\$\{\s*(\w+)")
_SECRET = re.compile(
    r"(^|[_-])(api)?(key|(?<!per_)token|secret|password|passphrase|credentials?"
    r"|authorization|headers|cookies?|conninfo|dsn)$",
    re.IGNORECASE,
)
"""Keys of what is a secret, or holds one."""
_MARK = "${}"
_ELSEWHERE = re.compile(r"""\$\{(oc\.env:)?[\w.]+(,\s*(null|''|""|\$\{(oc\.env:)?[\w.]+\}))?\}""")
"""A reference without a default that could be a secret itself."""
_CREDENTIALS = re.compile(
    r"""://[^\s/@:]*:(?!\$\{\}@)[^\s@]+@  # scheme://user:password@host
    | ://(?!\$\{\}@)[^\s/@:]+@           # scheme://token@host
    | (?:^|[\s?&;,'"])[\w-]*(?:password|passwd|pwd|secret|token|key)\s*=\s*(?!\$\{\})\S""",
    re.IGNORECASE | re.VERBOSE,
)
"""What a value says that holds credentials, its references replaced by `_MARK`."""
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
    kept = _without_secrets({name: whole[name] for name in sorted(seen - {"audit", "checkpoint", "limits"})})
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


def _without_secrets(part: Any, secret: bool = False) -> Any:
    """Return `part` with each secret in it withheld; all of it is one, where the key above says so."""
    if isinstance(part, dict):
        return {
            key: _without_secrets(value, secret or bool(_SECRET.search(str(key))))
            for key, value in part.items()
        }
    if isinstance(part, list):
        return [_without_secrets(each, secret) for each in part]
    harmless = part is None or isinstance(part, bool)
    return WITHHELD if not harmless and _is_secret(str(part), secret) else part


def redacted(plain: Any, written: Any, secret: bool = False) -> Any:
    """Return resolved settings with each secret as it was written, where that only refers to it.

    Args:
        plain: a config's settings, resolved.
        written: the same, with interpolations.
        secret: whether the key above says that they are.
    """
    if isinstance(plain, dict):
        below = written if isinstance(written, dict) else {}
        return {
            key: redacted(value, below.get(key), secret or bool(_SECRET.search(str(key))))
            for key, value in plain.items()
        }
    if isinstance(plain, list):
        each = written if isinstance(written, list) else [None] * len(plain)
        return [redacted(*pair, secret) for pair in zip(plain, each, strict=True)]
    if plain is None or isinstance(plain, bool) or not _is_secret(str(plain), secret):
        return plain
    return WITHHELD if written is None else _without_secrets(written, secret)


def _is_secret(value: str, secret: bool) -> bool:
    rest = _ELSEWHERE.sub(_MARK, value)
    return rest not in ("", _MARK) if secret else bool(_CREDENTIALS.search(rest))


def _values(part: Any, key: str) -> Iterator[str]:
    """Yield the strings that stand under `key` anywhere in `part`."""
    if isinstance(part, dict):
        yield from (str(value) for name, value in part.items() if name == key and value)
        for value in part.values():
            yield from _values(value, key)
    elif isinstance(part, list):
        for each in part:
            yield from _values(each, key)
