"""A job of a sweep: the command as it was installed, whatever lies in the folder that it is started in."""

from pathlib import Path

import pytest

from markgraph.launching.command import Job

EVIL = "from pathlib import Path\nPath('ran').touch()\nraise SystemExit(7)\n"


def test_a_job_imports_nothing_from_the_folder_that_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hydra_plugins").mkdir()
    for name in ("hydra_plugins/launcher.py", "hydra.py", "secrets.py"):
        (tmp_path / name).write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    done = Job(["feedback", "--help"])()
    assert (done.outcome.code, "markgraph feedback" in done.out) == (0, True), done.err
    assert not (tmp_path / "ran").exists()
