"""`markgraph keys shred` takes a tenant's training runs and weights along, and nobody else's."""

from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from markgraph.errors import WeightsError
from markgraph.models.merge import merged
from markgraph.models.registry import Registry
from markgraph.models.source import resolve
from tests.commands.conftest import Ran
from tests.engines.tiny import tiny_llama
from tests.training.runs import rows, settings, write_rows

Command = Callable[..., Ran]
OURS = ("run=ours", "name=law")
THEIRS = ("run=theirs", "name=tax", "seed=1", "auth.caller.tenant=other")
SHRED = ("keys", "shred", "tenant=default", "yes=true")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return tiny_llama(tmp_path / "tiny")


@pytest.fixture
def trained(markgraph: Command, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a trained and registered model of two tenants each."""
    monkeypatch.setenv("MARKGRAPH_SEAL", "keyring")
    monkeypatch.setenv("MARKGRAPH_CACHE", str(tmp_path / "cache"))
    chosen = settings(model, write_rows(tmp_path / "rows.jsonl", rows()))
    markgraph("keys", "rotate")
    for who in (OURS, THEIRS):
        done = markgraph("train", *chosen, *who, "confirm=true")
        assert done.code == 0, done.err


def files(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.usefixtures("trained")
def test_runs_and_weights_of_the_tenant_go_and_those_of_others_stay(
    markgraph: Command, home: Path, model: str
) -> None:
    registry, runs = Registry(home / "models"), home / "training"
    registry.promote("law")
    base = resolve(model)
    ours, theirs = (merged(base, registry.weights(*which)) for which in (("law", 1), ("tax", "challenger")))
    kept = [runs / "theirs", home / "models" / "tax", theirs]
    before = [files(each) for each in kept]

    done = markgraph(*SHRED, "output=json")
    assert done.json == {"shredded": ["default"], "models": ["law@1"], "runs": ["ours"]}
    assert "where a tracker keeps them" in done.err
    assert not (runs / "ours").exists()
    assert not ours.exists()
    assert registry.get("law", 1).card.run == "ours"
    assert [change.what for change in registry.changes("law", 1)]
    assert registry.aliases("law") == {}
    with pytest.raises(WeightsError, match="its weights are gone"):
        registry.weights("law", 1)
    assert [files(each) for each in kept] == before
    assert "There is no run 'ours'" in markgraph("train", "resume=ours").err
    again = markgraph("train", "resume=theirs", "auth.caller.tenant=other")
    assert (again.code, "Registered as tax@1" in again.out) == (0, True)


@pytest.mark.usefixtures("trained")
def test_a_run_in_progress_is_named_and_nothing_is_deleted(markgraph: Command, home: Path) -> None:
    before = files(home / "training" / "ours"), files(home / "models")
    with FileLock(home / "training" / "ours.lock"):
        refused = markgraph(*SHRED)
    assert (refused.code, refused.out) == (2, "")
    assert "Another process is at work on run 'ours'" in refused.err
    assert (files(home / "training" / "ours"), files(home / "models")) == before
    assert markgraph("keys", "list", "output=json").json["shredded"] == []


@pytest.mark.usefixtures("trained")
def test_what_a_kill_left_is_deleted_by_the_same_command(markgraph: Command, home: Path) -> None:
    claim = home / "training" / "ours" / "run.json"
    owned = claim.read_text()
    assert markgraph(*SHRED).code == 0
    claim.parent.mkdir()
    claim.write_text(owned)
    assert markgraph(*SHRED, "output=json").json["runs"] == ["ours"]
    claim.parent.mkdir()
    claim.write_text("{")
    refused = markgraph(*SHRED)
    assert (refused.code, f"Could not read in {claim} whose run" in refused.err) == (1, True)
