"""Files of the registry: what is copied into it, and cards that are read."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

from markgraph.errors import StorageError, UsageError
from markgraph.models.cards import Registered
from markgraph.models.manifest import NAME, write_manifest

ADAPTER = "adapter_config.json"
"""The file that makes a folder an adapter's."""
NAMES = r"[a-z0-9][a-z0-9_.-]{0,63}"
"""What names of models look like."""
_SERVED = frozenset((".safetensors", ".json", ".jinja", ".txt", ".model"))
"""Suffixes of what is copied: weights, configs, and the parts of a tokenizer."""


def copy_served(model: Path, to: Path) -> None:
    """Copy what serving needs of the model in a folder, and write its manifest; a trainer's own files stay.

    Raises:
        UsageError: there is no model in it.
        OSError: it can't be read or written.
    """
    wanted = [file for file in sorted(model.rglob("*")) if file.suffix in _SERVED and file.name != NAME]
    files = [file for file in wanted if file.is_file() and not _of_checkpoint(file.relative_to(model))]
    if not any(file.suffix == ".safetensors" for file in files):
        raise UsageError(f"{model} holds no safetensors. Allowed: the folder of a model or an adapter.")
    for file in files:
        copy = to / file.relative_to(model)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        sync(copy)
    sync(write_manifest(to))
    sync(to)


def check_name(name: str) -> None:
    """Refuse what can't be the name of a model.

    Raises:
        UsageError: saying what can.
    """
    if not re.fullmatch(NAMES, name, re.ASCII):
        raise UsageError(
            f"{name!r} is no name of a model. Allowed: up to 64 of a-z, 0-9, _, . and -, the first a letter "
            "or a digit."
        )


def sync(path: Path) -> None:
    """Come back when a file or folder would outlast a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def read_card(file: Path) -> Registered:
    """Return what is on a card.

    Raises:
        StorageError: it is damaged.
    """
    with reading(file):
        return _read(file, file.stat().st_mtime_ns)


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raise `StorageError` for a file that can't be read, or is none of the registry's."""
    try:
        yield
    except (OSError, ValueError, ValidationError) as error:
        told = " ".join(str(error).split())
        raise StorageError(f"Could not read {file}: {told}. Put it back from a copy.") from error


@lru_cache(maxsize=256)
def _read(file: Path, mtime_ns: int) -> Registered:  # noqa: ARG001 -- what it is kept by
    return Registered.model_validate_json(file.read_text("utf-8"))


def _of_checkpoint(file: Path) -> bool:
    return any(part.startswith("checkpoint") for part in file.parts[:-1])
