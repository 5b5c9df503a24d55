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
    assert second.json["added"] == second.json["changed"] == second.json["removed"] == 0
    assert second.json["seconds"].keys() == {"authorize", "permit", "scan", "sweep", "link"}


def test_a_wrong_path_names_the_nearest(markgraph: Markgraph, documents: Path) -> None:
    ran = markgraph("ingest", str(documents.with_name("my docments")), HASHED)
    assert ran.code == 2
    assert "my documents" in ran.err


def test_json_lines_that_are_taken_for_a_file_are_told_how_they_are_read(
    markgraph: Markgraph, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text('{"_id": "1", "text": "Due."}\n')
    assert "JSON lines: corpus=jsonl." in markgraph("ingest", f"{tmp_path}/a.jsonl", HASHED).err


def test_documents_that_fail_alike_are_one_line(markgraph: Markgraph, tmp_path: Path) -> None:
    lines = [f'{{"_id": "{number}", "body": "Clause {number}."}}\n' for number in range(9)]
    (tmp_path / "a.jsonl").write_text("".join([*lines, "no JSON\n"]))
    ran = markgraph("ingest", f"{tmp_path}/a.jsonl", HASHED, "corpus=jsonl")
    failed = [line for line in ran.err.splitlines() if line.startswith("failed: ")]
    assert [line.partition(" of ")[0] for line in failed] == [
        "failed: 9 documents, the first: Cannot read line 1",
        "failed: Cannot read line 10",
    ]


def test_nothing_is_written_beside_the_collections(markgraph: Markgraph, documents: Path, home: Path) -> None:
    for name in ("../x", "", "conf"):
        assert markgraph("ingest", str(documents), HASHED, f"collection={name}").code == 2
    assert not home.exists()
    assert not (home.parent / "x").exists()


@pytest.mark.parametrize("name", ["x ${a}", r"x\${a}", "a=b", "it's ???"])
def test_a_folder_may_be_called_like_what_configs_give_a_meaning(
    markgraph: Markgraph, documents: Path, name: str
) -> None:
    folder = documents.rename(documents.with_name(name))
    assert markgraph("ingest", str(folder), HASHED, "output=json").json["added"] == 1
    assert f"{folder}/terms.md" in markgraph("search", "invoice", HASHED).out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("graph.details=null", "'graph.details' has value null. Allowed: a mapping with _target_."),
        ("index.parts=null", "index.parts is None; allowed: a list of one index or more"),
        ("data_dir=null", "'data_dir' has value null. Allowed: the path of a folder"),
    ],
)
def test_null_where_something_is_needed_names_the_key(
    markgraph: Markgraph, documents: Path, override: str, message: str
) -> None:
    ran = markgraph("ingest", str(documents), HASHED, override)
    assert (ran.code, ran.out, message in ran.err) == (2, "", True)


def test_no_path_is_wrong_use(markgraph: Markgraph) -> None:
    ran = markgraph("ingest", HASHED)
    assert ran.code == 2
    assert "markgraph ingest FOLDER" in ran.err


@pytest.mark.parametrize("readers", ["[legal]", "[]", "g:legal", "[g:]", "[public,everybody]"])
def test_readers_that_nobody_can_be_are_an_error(markgraph: Markgraph, documents: Path, readers: str) -> None:
    ran = markgraph("ingest", str(documents), HASHED, f"readers={readers}")
    assert ran.code == 2
    assert "g:GROUP" in ran.err


@pytest.mark.parametrize(
    "setting",
    [
        "limit=abc",
        "limit=-1",
        "limit=0",
        "output=xml",
        "dry_run=1",
        "classification=secret",
        "executor.workers=0",
    ],
)
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


def test_a_classification_is_asked_for_beside_the_readers(markgraph: Markgraph, documents: Path) -> None:
    markgraph("ingest", str(documents), HASHED, "readers=[g:legal]", "classification=internal")
    legal = ("auth.caller.groups=[legal]", HASHED)
    assert markgraph("search", "invoice", *legal).code == 3
    assert markgraph("search", "invoice", *legal, "auth.caller.clearance=internal").code == 0
    assert markgraph("search", "invoice", HASHED, "auth.caller.clearance=internal").code == 3


RULES = """
rules:
  - {path: hr/**, readers: [g:hr]}
  - {path: "*.md", readers: [public]}
"""


@pytest.fixture
def ruled(documents: Path, tmp_path: Path) -> tuple[str, ...]:
    """Return the arguments that ingest the documents by rules from a file."""
    (documents / "hr").mkdir()
    (documents / "hr" / "pay.md").write_text("# Pay\n\nThe salary of everybody is paid monthly.\n")
    (tmp_path / "permissions.yaml").write_text(RULES)
    return ("ingest", str(documents), HASHED, "rules=file", f"rules.path='{tmp_path}/permissions.yaml'")


def test_rules_come_from_a_file(markgraph: Markgraph, ruled: tuple[str, ...], tmp_path: Path) -> None:
    report = markgraph(*ruled, "output=json").json
    assert (report["added"], report["unreadable"]) == (2, 0)
    assert markgraph("search", "salary", "index=words", HASHED).code == 3
    assert markgraph("search", "salary", "index=words", HASHED, "auth.caller.groups=[hr]").code == 0
    (tmp_path / "permissions.yaml").write_text(RULES.replace("hr]", "board]"))
    report = markgraph(*ruled, "output=json").json
    assert (report["permitted"], report["changed"], report["chunks"]) == (1, 0, 0)
    assert markgraph("search", "salary", "index=words", HASHED, "auth.caller.groups=[hr]").code == 3


def test_a_mistake_in_the_rules_is_one_message(
    markgraph: Markgraph, ruled: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "permissions.yaml").write_text(RULES.replace("readers: [public]", "reader: [public]"))
    ran = markgraph(*ruled)
    assert ran.code == 2
    assert "line 4" in ran.err
    assert "Did you mean 'readers'?" in ran.err
    assert "Traceback" not in ran.err


def test_a_dry_run_lists_every_document_with_its_readers(
    markgraph: Markgraph, ruled: tuple[str, ...], documents: Path
) -> None:
    (documents / "notes.txt").write_text("Nobody is named for this.")
    ran = markgraph(*ruled, "dry_run=true", "output=json")
    readers = {Path(row["source"]).name: row["readers"] for row in ran.json["documents"]}
    assert readers == {"pay.md": ["g:hr"], "terms.md": ["public"], "notes.txt": []}
    assert (ran.json["dry_run"], ran.json["added"], ran.json["unreadable"]) == (True, 3, 1)
    text = markgraph(*ruled, "dry_run=true").out
    assert f"added     {documents}/hr/pay.md  [g:hr; public]\n" in text
    assert f"added     {documents}/notes.txt  [nobody]\n" in text
    assert "Nobody may read 1 of these documents" in text
    assert markgraph("search", "salary", HASHED).code == 2, "nothing was ingested"


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


def test_what_was_closed_is_not_opened_by_saying_nothing(markgraph: Markgraph, documents: Path) -> None:
    closed = ["readers=[g:hr]", "classification=internal"]
    assert markgraph("ingest", str(documents), HASHED, *closed).code == 0
    for said in ([], closed[:1], closed[1:], ["dry_run=true"]):
        ran = markgraph("ingest", str(documents), HASHED, *said)
        assert (ran.code, "readers=[g:hr] classification=internal" in ran.err) == (2, True)
    assert markgraph("search", "invoice", HASHED).code == 3
    again = markgraph("ingest", str(documents), HASHED, *closed, "output=json")
    assert (again.json["permitted"], again.json["unchanged"]) == (0, 1)
    opened = ["readers=[public]", "classification=public", "output=json"]
    assert markgraph("ingest", str(documents), HASHED, *opened).json["permitted"] == 1
    assert markgraph("search", "invoice", HASHED).code == 0


def test_rules_and_readers_exclude_each_other(markgraph: Markgraph, documents: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("default: {readers: [public]}")
    ran = markgraph("ingest", str(documents), HASHED, "rules=file", f"rules.path={rules}", "readers=[g:hr]")
    assert (ran.code, "Leave out readers=" in ran.err) == (2, True)
