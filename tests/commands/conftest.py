"""Runs the command line in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from markgraph.cli import run

STAND_INS = ("experiment=no_weights", "model=fake")


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Return stdout as the one JSON object that it must be."""
        return json.loads(self.out)  # type: ignore[no-any-return]


@pytest.fixture
def markgraph(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Return a function that runs `markgraph ARGUMENTS`."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        code = run(arguments)
        return Ran(code, *capsys.readouterr())

    return call


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "my documents"
    folder.mkdir()
    (folder / "terms.md").write_text(
        "# Terms\n\n## Payment\n\nThe customer shall pay each invoice within 30 days of receipt.\n\n"
        "## Liability\n\nThe supplier's liability is capped at 150 % of the yearly fees.\n"
    )
    return folder


@pytest.fixture
def collection(documents: Path, markgraph: Callable[..., Ran]) -> None:
    """Ingest the documents into the home of the test."""
    assert markgraph("ingest", str(documents), "experiment=no_weights").code == 0
