"""The file that an administrator writes, and what they are told when it is wrong."""

from pathlib import Path

import pytest

from markgraph.errors import ConfigError, UsageError
from markgraph.ingestion.rules_file import read_rules
from markgraph.security.permissions import Permissions

WHOLE = """
# Who may read what.
rules:
  - path: hr/**
    readers: [g:hr, u:ada]
    classification: restricted
  - {path: [press/**, "*.md"], readers: [public]}
  - where: {department: [legal, tax]}
    readers: [g:legal]
default: {readers: [g:staff], classification: internal}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "permissions.yaml"


def test_reads_rules(file: Path) -> None:
    file.write_text(WHOLE, "utf-8")
    rules = read_rules(file)
    assert rules.permissions("hr/a.pdf", {}, "t") == Permissions("t", ("g:hr", "u:ada"), 3)
    assert rules.permissions("a.md", {}, "t") == Permissions("t", ("public",), 0)
    assert rules.permissions("x/a.md", {"department": "tax"}, "t") == Permissions("t", ("g:legal",), 0)
    assert rules.permissions("x/a.md", {}, "t") == Permissions("t", ("g:staff",), 1)


WRONG = {
    "rules:\n  - path: hr/**\n    reader: [g:hr]\n": (
        "line 3: unknown key rules.0.reader",
        "mean 'readers'?",
    ),
    "rules: []\ndeflt: {readers: [public]}\n": ("line 2: unknown key deflt", "mean 'default'?"),
    "default:\n  readers: [public]\n  tenant: other\n": ("line 3: unknown key default.tenant",),
    "rules:\n  - {path: a, readers: [public]}\n  - {path: b}\n": (
        "line 3: rules.1.readers is missing: say who",
    ),
    "rules:\n  - path: a\n    readers: public\n": ("line 3: rules.0.readers: expected a list",),
    "rules:\n  - path: a\n    readers:\n      - everybody\n": ("line 3: ", "'everybody'", "g:GROUP"),
    "rules:\n  - path: /a\n    readers: []\n": ("line 2: rules.0.path.0: '/a' is no pattern",),
    "rules:\n  - where: {year: 2024}\n    readers: []\n": (
        "line 2: rules.0.where.year: expected text, in quotes",
    ),
    "rules:\n  - path: a\n    readers: [public]\n    readers: []\n": ("line 4: readers is there twice",),
    "rules:\n  - path: a\n    classification: secret\n    readers: []\n": ("line 3: ", "'secret'"),
    "rules: {path: a}\n": ("line 1: rules: ",),
    "- path: a\n": ("line 1: the file: got a list, expected a mapping", "Allowed: default, rules."),
    "": ("line 1: the file: got nothing, expected a mapping", "Allowed: default, rules."),
    "rules:\n  - hr\n": ("line 2: rules.0: got a text", "Allowed: classification, path, readers, where."),
    "rules: []\ndefault: [public]\n": ("line 2: default: got a list", "Allowed: classification, readers."),
    "rules:\n  - where: [a]\n    readers: []\n": ("line 2: rules.0.where: got a list, expected a mapping",),
    "rules: [": ("no YAML",),
    "rules: !!python/object/apply:os.system [true]\n": ("no YAML",),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_named_with_its_line(file: Path, text: str) -> None:
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as error:
        read_rules(file)
    assert str(file) in str(error.value)
    for part in WRONG[text]:
        assert part in str(error.value)


def test_all_mistakes_are_named_at_once(file: Path) -> None:
    file.write_text("rules:\n  - {path: a, reader: []}\n  - {pth: a, readers: []}\nx: 1\n", "utf-8")
    with pytest.raises(ConfigError) as error:
        read_rules(file)
    assert [line.split(":")[0] for line in str(error.value).splitlines()[1:]] == [
        "  line 2",
        "  line 2",
        "  line 3",
        "  line 4",
    ]


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot read the rules"):
        read_rules(tmp_path / "nothing.yaml")
    with pytest.raises(UsageError, match=r"rules\.path=FILE"):
        read_rules(None)


def test_anchors_may_be_used(file: Path) -> None:
    file.write_text(
        "rules:\n  - {path: a, readers: &all [public]}\n  - {path: b, readers: *all}\n", encoding="utf-8"
    )
    assert read_rules(file).permissions("b", {}, "t").readers == ("public",)
