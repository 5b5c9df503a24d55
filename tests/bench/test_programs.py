"""The programs of `benchmarks/` that need nothing but this package still print their figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("small", [("unchanged", "--files", "5"), ("memory", "--chunks", "100", "200")])
def test_ingestion_is_measured(small: tuple[str, ...]) -> None:
    command = [sys.executable, str(PROGRAMS / "ingest.py"), *small, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["runs"].values()
    assert first["chunks"] > 0
    assert second["unchanged"] == (5 if small[0] == "unchanged" else 0)
