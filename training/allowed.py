"""Checks settings: what is refused is told with what is allowed."""

from typing import Any

from markgraph.errors import ConfigError


def check(name: str, value: Any, good: bool, allowed: str) -> None:
    """Refuse the value of a setting that is no good.

    Raises:
        ConfigError: it is not.
    """
    if not good:
        raise ConfigError(f"{name} is {value!r}. Allowed: {allowed}.")


def at_least(settings: object, least: float, *names: str, of: str = "method") -> None:
    """Refuse settings below `least`; null is for whoever has it as a choice.

    Args:
        settings: an object with settings as its fields.
        least: the smallest that is allowed.
        names: which of them.
        of: where they stand in the config.

    Raises:
        ConfigError: one is.
    """
    for name in names:
        value = vars(settings)[name]
        check(f"{of}.{name}", value, value is None or value >= least, f"{least:g} or more")


def more_than(settings: object, bound: float, *names: str, of: str = "method") -> None:
    """Refuse settings that are not more than `bound`, as `at_least` does.

    Raises:
        ConfigError: one is not.
    """
    for name in names:
        value = vars(settings)[name]
        check(f"{of}.{name}", value, value is None or value > bound, f"more than {bound:g}")


def a_part(settings: object, *names: str, of: str = "method") -> None:
    """Refuse settings that are no part of a whole.

    Raises:
        ConfigError: one is below 0, or above 1.
    """
    for name in names:
        value = vars(settings)[name]
        check(f"{of}.{name}", value, 0 <= value <= 1, "from 0 to 1")
