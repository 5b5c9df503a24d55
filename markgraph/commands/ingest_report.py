"""Shows what an ingestion did: a table on a terminal, a line for a pipe, JSON for programs."""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from markgraph.commands.terminal import printable
from markgraph.ingestion.report import Details

COUNTS = ("added", "changed", "removed", "failed", "permitted", "unchanged", "skipped")
SHOWN = 3
"""How many skipped files are named; the details have all."""
_LINE = re.compile(r"\bline \d+")
Report = dict[str, Any]


def seconds_of(report: Report) -> dict[str, float]:
    """Return how long each step took; reading is what indexing had to wait for."""
    steps = {name: spent / 1000 for name, spent in report["timings"].items()}
    if "index_documents" in steps:
        steps["read"] = report["waited"]
        steps["index"] = steps.pop("index_documents") - report["waited"]
    return {name: round(spent, 2) for name, spent in steps.items()}


def print_json(report: Report, details: Details, *, dry_run: bool) -> None:
    """Print the report as one JSON object; that of a dry run has every document, one a line."""
    counts = {name: report[name] for name in (*COUNTS, "unreadable", "chunks", "failures")}
    path = None if details.path is None else str(details.path)
    whole = {"dry_run": dry_run, **counts, "seconds": seconds_of(report), "details": path}
    text = json.dumps(whole, ensure_ascii=False)
    if not dry_run:
        print(text)  # noqa: T201
        return
    print(text[:-1] + ', "documents": [', end="")  # noqa: T201
    for at, row in enumerate(details):
        print(("," if at else "") + "\n" + json.dumps(row, ensure_ascii=False), end="")  # noqa: T201
    print("\n]}")  # noqa: T201


def print_text(report: Report, details: Details, *, dry_run: bool) -> None:
    """Print the report for people."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), markup=False)
    if dry_run:
        console.print("Nothing was changed. An ingestion would do this:")
        for row in details:
            console.print(Text(_line(row)))
    console.print(_table(report) if console.is_terminal else _sentence(report))
    if report["skipped"]:
        names = [printable(row["source"]) for row in islice(_skipped(details), SHOWN)]
        more = ", ..." if report["skipped"] > len(names) else ""
        console.print(f"Skipped, links, other kinds, or ingested by themselves: {', '.join(names)}{more}")
    if report["unreadable"]:
        console.print(f"Nobody may read {report['unreadable']} of these documents: no rule opens them.")
    for count, reason in _grouped(report["failures"]):
        several = f"{count} documents, the first: " if count > 1 else ""
        print(f"failed: {several}{printable(reason)}", file=sys.stderr)  # noqa: T201
    if report["failed"] > len(report["failures"]):
        print(f"failed: {report['failed']} in all; each is named in {details.path}", file=sys.stderr)  # noqa: T201


def _grouped(failures: Sequence[Mapping[str, str]]) -> Iterator[tuple[int, str]]:
    """Yield how many documents failed alike, but for their names and lines, and the reason of the first."""
    alike: dict[str, list[str]] = {}
    for failure in failures:
        reason = failure["reason"]
        kind = _LINE.sub("line", reason.replace(failure["source"], ""))
        alike.setdefault(kind, []).append(reason)
    for reasons in alike.values():
        yield len(reasons), reasons[0]


def _sentence(report: Report) -> str:
    counts = [f"{report[what]} {what}" for what in COUNTS]
    return f"{', '.join(counts)}; {report['chunks']} chunks written."


def _table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("documents")
    table.add_column("", justify="right")
    table.add_column("step")
    table.add_column("seconds", justify="right")
    rows = [(what, str(report[what])) for what in (*COUNTS, "chunks")]
    steps = [(name, f"{spent:.1f}") for name, spent in seconds_of(report).items()]
    for at in range(max(len(rows), len(steps))):
        left = rows[at] if at < len(rows) else ("", "")
        right = steps[at] if at < len(steps) else ("", "")
        table.add_row(*left, *right)
    return table


def _line(row: dict[str, Any]) -> str:
    """Return what would become of one document, and who would read it."""
    line = f"{row['what']:9} {printable(row['source'])}"
    if "readers" not in row:
        return line
    readers = ", ".join(map(printable, row["readers"]))
    return f"{line}  [{readers}; {row['classification']}]" if readers else f"{line}  [nobody]"


def _skipped(details: Details) -> Iterator[dict[str, Any]]:
    return (row for row in details if row["what"] == "skipped")
