"""What the guards of tools cost, each beside the same work without its guard, in turns.

    python -m benchmarks.sandbox

A file below a folder against `open`; a URL's check against `urlsplit`, an override's against its parser; SQL
in a process of its own against DuckDB here; a program in Monty against `eval`; the checks of a model's folder
against reading it whole.
"""

import os
import tempfile
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import duckdb
from hydra.core.override_parser.overrides_parser import OverridesParser

from markgraph.models.manifest import check_manifest, write_manifest
from markgraph.sandbox.files import FileJail
from markgraph.sandbox.http import HttpGuard
from markgraph.sandbox.network import is_public
from markgraph.sandbox.python import PythonInterpreter
from markgraph.sandbox.sql import ReadOnlySql
from markgraph.security.overrides import Number, check_overrides
from markgraph.tools.calculate import evaluate

ROUNDS = 7
URL = "https://example.org/a/b?c=d"


def main() -> None:
    """Print a line for each guard."""
    with tempfile.TemporaryDirectory() as place:
        for name, times, guarded, plain in pairs(Path(place)):
            print(line(name, *measured(times, guarded, plain)))


def pairs(folder: Path) -> list[tuple[str, int, Callable[[], object], Callable[[], object]]]:
    """Return what is compared: its name, calls a round, with the guard and without."""
    (folder / "jail/a/b").mkdir(parents=True)
    file = folder / "jail/a/b/file.txt"
    file.write_bytes(os.urandom(1000))
    weights = folder / "model"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(os.urandom(100 << 20))
    write_manifest(weights)
    base = folder / "data.duckdb"
    with duckdb.connect(str(base)) as opened:
        opened.execute("CREATE TABLE t AS SELECT range AS n FROM range(1000)")
    jail, guard, sql = FileJail(folder / "jail"), HttpGuard(frozenset({"example.org"})), ReadOnlySql(base)
    python = PythonInterpreter()

    def asked() -> object:
        with duckdb.connect(str(base), read_only=True) as opened:
            return opened.execute("SELECT sum(n) FROM t").fetchall()

    uncached: Any = urlsplit.__wrapped__  # type: ignore[attr-defined]  # of lru_cache
    return [
        ("read a file", 2000, lambda: jail.read("a/b/file.txt"), file.read_bytes),
        ("check a URL", 5000, lambda: guard.check(URL), lambda: uncached(URL)),
        ("check an address", 5000, lambda: is_public("93.184.216.34"), lambda: ip_address("93.184.216.34")),
        ("ask a database", 3, lambda: sql.query("SELECT sum(n) FROM t"), asked),
        ("run a program", 200, lambda: python.run("sum(range(100))"), lambda: eval("sum(range(100))")),  # noqa: S307
        ("work a sum out", 2000, lambda: evaluate("(1 + 2) * 3"), lambda: eval("(1 + 2) * 3")),  # noqa: S307
        (
            "check an override",
            50,
            lambda: check_overrides(["k=8"], {"k": Number(1, 50)}),
            lambda: OverridesParser.create().parse_override("k=8"),
        ),
        (
            "check 100 MB of weights",
            20,
            lambda: check_manifest(weights),
            (weights / "model.safetensors").read_bytes,
        ),
    ]


def measured(
    times: int, guarded: Callable[[], object], plain: Callable[[], object]
) -> tuple[float, float, float]:
    """Return microseconds a call with the guard and without, and the median of the rounds' ratios."""
    guarded(), plain()
    rounds = [(timed(times, guarded), timed(times, plain)) for _ in range(ROUNDS)]
    return (
        median(one for one, _ in rounds),
        median(other for _, other in rounds),
        median(one / other for one, other in rounds),
    )


def timed(times: int, call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times * 1e6


def line(name: str, guarded: float, plain: float, ratio: float) -> str:
    return f"{name:24} {guarded:12,.1f} us guarded  {plain:12,.1f} us plain  ratio {ratio:8.2f}"


if __name__ == "__main__":
    main()
