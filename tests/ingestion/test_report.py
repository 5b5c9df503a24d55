"""The details of a run."""

from pathlib import Path

import pytest

from markgraph.ingestion.report import Details, row


def test_a_tilde_is_the_home_folder_in_every_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    details = Details(Path("~/idx/ingest.jsonl"))
    details.begin()
    details.add([row("added", "a.md")])
    assert list(details) == [{"what": "added", "source": "a.md"}]
    assert details.path == tmp_path / "idx" / "ingest.jsonl"
    assert details.of_dry_run.path == tmp_path / "idx" / "ingest.dry_run.jsonl"
