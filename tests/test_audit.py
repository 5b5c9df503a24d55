"""What `make audit` passes over: each line has a reason, and is looked at anew when the package changes."""

import re
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"(?P<id>[A-Z]+-[0-9a-z-]+) (?P<package>[\w-]+) (?P<version>[\d.]+): (?P<reason>.{5,})")


def test_every_line_has_an_id_the_version_that_is_installed_and_a_reason() -> None:
    lines = (ROOT / "audit-ignored.txt").read_text("utf-8").splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    for entry in entries:
        match = LINE.fullmatch(entry)
        assert match, entry
        assert version(match["package"]) == match["version"], f"{entry}: is it still so?"
    assert len(set(entries)) == len(entries) > 0


def test_the_makefile_hands_every_id_on_and_counts_what_was_skipped_as_failed() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    [pattern] = re.findall(r"sed -n 's/(\^.*?) \.\*/--ignore-vuln", makefile)
    as_python = re.compile(pattern.replace("\\(", "(").replace("\\)", ")") + " .*")
    lines = (ROOT / "audit-ignored.txt").read_text("utf-8").splitlines()
    handed_on = [match[1] for line in lines if (match := as_python.match(line))]
    assert handed_on == [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert "pip-audit --strict" in makefile
