"""Rows of a run are sealed with the key of the tenant that began it, and nobody reads them without."""

from pathlib import Path

import pytest

from markgraph.cli import run
from markgraph.commands.training_runs import reseal
from markgraph.errors import SealError, ShreddedError, UsageError
from markgraph.security.sealing.keyring import Keyring
from markgraph.training.runs import Runs, alone, write_json
from tests.commands.conftest import Ran
from tests.engines.tiny import tiny_llama
from tests.training.runs import NAME, losses, rows, settings, write_rows

TEXT = b"pays notice"


def train(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ran:
    capsys.readouterr()
    code = run(["train", *arguments])
    return Ran(code, *capsys.readouterr())


def test_a_sealed_run_plans_trains_and_goes_on_as_one_in_clear_does(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(tiny_llama(tmp_path / "tiny"), write_rows(tmp_path / "rows.jsonl", rows()))
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MARKGRAPH_HOME", str(tmp_path / "clear"))
        assert train(capsys, *chosen, "run=r", "confirm=true").code == 0
    run(["keys", "rotate"])
    assert train(capsys, *chosen, "run=r", "seal=keyring", "confirm=false").code == 0
    without = train(capsys, "resume=r", "confirm=true")
    assert (without.code, "seal=none" in without.err) == (1, True)
    done = train(capsys, "resume=r", "confirm=true", "seal=keyring")
    assert (done.code, f"Registered as {NAME}@1" in done.out) == (0, True), done.err

    clear, sealed = (folder / "training" / "r" for folder in (tmp_path / "clear", home))
    assert losses(sealed) == losses(clear)
    assert (sealed / "report.json").read_bytes() == (clear / "report.json").read_bytes()
    assert TEXT in (clear / "rows" / "train.jsonl").read_bytes()
    files = [file for file in home.rglob("*") if file.is_file()]
    assert [file for file in files if TEXT in file.read_bytes()] == []


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path / "keyring.json", tmp_path / "keys.sqlite")
    made.rotate()
    return made


@pytest.fixture
def file(tmp_path: Path, keyring: Keyring) -> Path:
    """Return a file of sealed rows."""
    runs = Runs(tmp_path / "training", keyring)
    place = runs.of("r") / "rows" / "train.jsonl"
    place.parent.mkdir(parents=True)
    write_json(runs.of("r") / "run.json", {"owner": "acme:ada"})
    lines = write_rows(tmp_path / "rows.jsonl", rows(3)).read_text().splitlines(keepends=True)
    sealing = runs.sealing("acme")
    place.write_text("".join(sealing.line(place, number, line) for number, line in enumerate(lines)))
    return place


def test_a_row_opens_at_its_own_place_only(file: Path, tmp_path: Path, keyring: Keyring) -> None:
    runs = Runs(tmp_path / "training", keyring)
    assert runs.rows(file) == rows(3)
    first, *others = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*others, first]))
    with pytest.raises(SealError, match="does not open"):
        runs.rows(file)


def test_without_the_key_a_row_is_refused(file: Path, tmp_path: Path, keyring: Keyring) -> None:
    with pytest.raises(SealError, match=r"are sealed, and there is no keyring.*Go on with seal=keyring"):
        Runs(tmp_path / "training").rows(file)
    keyring.shred("acme")
    with pytest.raises(ShreddedError, match="'acme' were shredded"):
        Runs(tmp_path / "training", keyring).rows(file)


def test_a_row_in_clear_is_not_taken_for_a_sealed_one(file: Path, tmp_path: Path, keyring: Keyring) -> None:
    write_rows(file, rows(1))
    with pytest.raises(SealError, match="are not sealed, and seal=keyring takes no others"):
        Runs(tmp_path / "training", keyring).rows(file)
    assert Runs(tmp_path / "training").rows(file) == rows(1)


def test_rows_in_clear_and_under_old_keys_are_sealed_anew(
    file: Path, tmp_path: Path, keyring: Keyring
) -> None:
    before, runs = file.read_text(), Runs(tmp_path / "training", keyring)
    assert reseal(runs.folder, keyring, bool) == 0
    assert file.read_text() == before
    keyring.rotate()
    assert reseal(runs.folder, keyring, bool) == 3
    assert runs.rows(file) == rows(3)
    write_rows(file, rows(2))
    assert reseal(runs.folder, keyring, bool) == 2
    assert runs.rows(file) == rows(2)
    with alone(runs.of("r")), pytest.raises(UsageError, match="at work on run 'r'"):
        reseal(runs.folder, keyring, bool)
    keyring.shred("acme")
    assert reseal(runs.folder, keyring, bool) == 0
