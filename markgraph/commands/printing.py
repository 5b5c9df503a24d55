"""Prints what a verb found: one JSON object, or facts one below the other."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from markgraph.json_text import json_text


def print_json(found: object) -> None:
    """Print plain data as JSON."""
    print(json_text(found, default=str))  # noqa: T201


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values in two columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(name, "none" if value in (None, "") else str(value))
    Console(highlight=False, markup=False).print(grid)
