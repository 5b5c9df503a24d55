"""Lets through those overrides of a config that a request may make.

Who types a command, sets `MARKGRAPH_OVERRIDES` or writes a config file starts the process, and could do
anything anyway: they are not checked. What comes over a connection or out of a store is, since a free
override calls any function (`_target_`), reads the environment (`${oc.env:KEY}`), and adds folders to the
search path.

Nothing that MARK serves takes overrides. A route that is to, or a stored choice of a graph's settings, passes
them through `check_overrides` first, with a list of what may be set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from markgraph.config_errors import nearest
from markgraph.errors import ConfigError

_MANY = 32
_LONGEST = 200


@dataclass(frozen=True)
class Number:
    """A number from `least` to `most`; a whole one, if both are."""

    least: float
    most: float

    def allows(self, value: Any) -> bool:
        """Tell whether `value` is such a number."""
        whole = isinstance(self.least, int) and isinstance(self.most, int)
        return type(value) in ((int,) if whole else (int, float)) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"


@dataclass(frozen=True)
class Choice:
    """One of some names, or of true and false: an option of a group, a mode."""

    names: tuple[str | bool, ...]

    def allows(self, value: Any) -> bool:
        """Tell whether `value` is one of them."""
        return any(type(value) is type(name) and value == name for name in self.names)

    def __str__(self) -> str:
        return ", ".join(str(name).lower() if isinstance(name, bool) else name for name in self.names)


def check_overrides(overrides: Sequence[str], allowed: Mapping[str, Number | Choice]) -> list[str]:
    """Return `overrides`, each written anew from what was understood, in a form that hides nothing.

    Args:
        overrides: `KEY=VALUE`, as somebody sent them.
        allowed: which keys may be set, and to what. Nothing else may.

    Raises:
        ConfigError: one is not allowed; none should be used then.
    """
    if len(overrides) > _MANY:
        raise ConfigError(f"{len(overrides)} overrides were sent. Allowed: at most {_MANY}.")
    checked = dict(_checked(override, allowed) for override in overrides)
    if len(checked) < len(overrides):
        raise ConfigError("A setting was sent twice. Allowed: each once.")
    return [f"{key}={_written(value)}" for key, value in checked.items()]


def _checked(override: str, allowed: Mapping[str, Number | Choice]) -> tuple[str, Any]:
    """Return the key and the value of one override."""
    parsed = _parsed(override)
    key, value = parsed.key_or_group, None if parsed.is_sweep_override() else parsed.value()
    if parsed.type != OverrideType.CHANGE or parsed.package is not None or key not in allowed:
        raise ConfigError(f"The override of {key[:100]!r} is not allowed.{nearest(key[:100], allowed)}")
    if not allowed[key].allows(value):
        raise ConfigError(f"{key!r} may not be {str(value)[:100]!r}. Allowed: {allowed[key]}.")
    return key, value


def _parsed(override: Any) -> Override:
    if not isinstance(override, str) or len(override) > _LONGEST or "${" in override:
        raise ConfigError(
            f"{str(override)[:100]!r} is no override that a request may make. Allowed: KEY=VALUE with a "
            f"plain value, at most {_LONGEST} characters."
        )
    try:
        return OverridesParser.create().parse_override(override)
    except (HydraException, ValueError, RecursionError) as error:
        raise ConfigError(f"{override[:100]!r} is not KEY=VALUE.") from error


def _written(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()
