"""Checks the settings of a command that no class checks."""

import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from markgraph.errors import ConfigError, UsageError

OUTPUTS = ("text", "json")


def check_choice(config: DictConfig, key: str, allowed: Sequence[object]) -> None:
    """Raise ConfigError unless the value of `key` is one of `allowed`."""
    value = config[key]
    if not any(type(value) is type(each) and value == each for each in allowed):  # 1 == True
        names = ", ".join("null" if each is None else str(each).lower() for each in allowed)
        raise ConfigError(f"Config {key!r} has value {value!r}. Allowed: {names}.")


def check_number(config: DictConfig, key: str, least: int, most: int, *, optional: bool = False) -> None:
    """Raise ConfigError unless the value of `key` is a whole number from `least` to `most`."""
    value = config[key]
    if optional and value is None:
        return
    if type(value) is not int or not least <= value <= most:
        raise ConfigError(f"Config {key!r} has value {value!r}. Allowed: a whole number, {least} to {most}.")


def check_writable(key: str, place: Path) -> None:
    """Refuse, before the work, a file that could not be written after it.

    Raises:
        UsageError: its folder isn't there or may not be written to, or it is a folder itself.
    """
    folder = place.parent
    if not folder.is_dir():
        why = f"there is no folder {folder}"
    elif place.is_dir():
        why = "that is a folder"
    elif not os.access(place if place.exists() else folder, os.W_OK):
        why = "you may not write there"
    else:
        return
    raise UsageError(f"Cannot write {key}={place}: {why}. Allowed: a file in a folder that you may write to.")
