"""Reads the records of a file: JSON lines one at a time, or a whole list in a `.json` file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markgraph.errors import UsageError

Record = dict[str, Any]


def records(path: Path) -> Iterator[tuple[str, Record | None]]:
    """Yield where each record stands, `FILE#L12` or `FILE#12`, and what it holds: None if it is no object.

    Raises:
        UsageError: there is no such file, or it is no list of JSON objects.
    """
    path = path.expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"No such file: {path}. Expected JSON lines (.jsonl), or a list of objects (.json).")
    mark = "#" if path.suffix == ".json" else "#L"
    found = _listed(path) if path.suffix == ".json" else _lines(path)
    for number, value in found:
        yield f"{path.as_posix()}{mark}{number}", value if isinstance(value, dict) else None


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _parsed(line)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _listed(path: Path) -> Iterator[tuple[int, Any]]:
    values = _parsed(path.read_bytes())
    if not isinstance(values, list):
        raise UsageError(f"{path} is no list of JSON objects. Expected [{{...}}, ...], or JSON lines in .jsonl.")
    yield from enumerate(values, start=1)
