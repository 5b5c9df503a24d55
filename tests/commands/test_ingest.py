"""`markgraph ingest`, as a person runs it."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import STAND_INS, Ran

Markgraph = Callable[..., Ran]
HASHED = "experiment=no_weights"


def test_says_what_it_did_and_does_it_once(markgraph: Markgraph, documents: Path) -> None:
    first = markgraph("ingest", str(documents), HASHED)
    assert (first.code, first.out.startswith("1 added, 0 changed, 0 removed, 0 failed")) == (0, True)
    second = markgraph("ingest", str(documents), HASHED, "output=json")
    assert second.json["unchanged"] == 1
    assert second.json["added"] == second.json["changed"] == second.json["removed"] == []


def test_a_wrong_path_names_the_nearest(markgraph: Markgraph, documents: Path) -> None:
    ran = markgraph("ingest", str(documents.with_name("my docments")), HASHED)
    assert ran.code == 2
    assert "my documents" in ran.err


def test_no_path_is_wrong_use(markgraph: Markgraph) -> None:
    ran = markgraph("ingest", HASHED)
    assert ran.code == 2
    assert "markgraph ingest FOLDER" in ran.err


@pytest.mark.parametrize("readers", ["[legal]", "[]", "g:legal", "[g:]", "[public,everybody]"])
def test_readers_that_nobody_can_be_are_an_error(markgraph: Markgraph, documents: Path, readers: str) -> None:
    ran = markgraph("ingest", str(documents), HASHED, f"readers={readers}")
    assert ran.code == 2
    assert "g:GROUP" in ran.err


@pytest.mark.parametrize("setting", ["limit=abc", "limit=-1", "limit=0", "output=xml"])
def test_a_setting_out_of_range_says_what_is_allowed(
    markgraph: Markgraph, documents: Path, setting: str
) -> None:
    ran = markgraph("ingest", str(documents), HASHED, setting)
    assert ran.code == 2
    assert "Allowed" in ran.err


def test_an_empty_folder_says_what_it_looked_for(markgraph: Markgraph, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = markgraph("ingest", str(tmp_path / "empty"), HASHED)
    assert ran.code == 2
    assert ".pdf" in ran.err


def test_a_corrupt_pdf_costs_only_itself(markgraph: Markgraph, documents: Path) -> None:
    (documents / "broken.pdf").write_bytes(b"%PDF-1.4\nthis is not a PDF")
    ran = markgraph("ingest", str(documents), HASHED)
    assert ran.code == 1
    assert "1 added" in ran.out
    assert "broken.pdf" in ran.err
    assert "Traceback" not in ran.err
    assert markgraph("ask", "Within how many days must the customer pay an invoice?", *STAND_INS).code == 0


def test_a_caller_who_may_not_write_is_denied(markgraph: Markgraph, documents: Path) -> None:
    ran = markgraph("ingest", str(documents), HASHED, "auth.caller.roles=[reader]")
    assert ran.code == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of one MiB, where this user may."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_one_clear_error_and_loses_nothing(
    markgraph: Markgraph, documents: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert markgraph("ingest", str(documents), HASHED).code == 0
    for number in range(60):
        (documents / f"{number}.txt").write_text(f"Clause {number}. " + os.urandom(2000).hex())
    filled = small_disk / "home"
    monkeypatch.setenv("MARKGRAPH_HOME", str(filled))
    ran = markgraph("ingest", str(documents), HASHED)
    assert ran.code == 1
    assert "full" in ran.err
    assert "Traceback" not in ran.err
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert markgraph("ingest", str(documents), HASHED).code == 0
    again = markgraph("ingest", str(documents), HASHED, "output=json")
    assert again.json["unchanged"] == 61
