"""Names of paths: printable, unique, and no hindrance to rules."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markgraph.ingestion.corpora import Folder
from markgraph.ingestion.names import name_of, path_of
from markgraph.ingestion.rules import Rules, path_within

PATHS = st.lists(
    st.one_of(st.sampled_from("%2C0aA/\u00a0\u00ad\u200d\n\udcffä"), st.characters(codec="utf-8"))
)


@given(PATHS)
def test_a_name_is_printable_and_tells_its_path(path: list[str]) -> None:
    raw = os.fsdecode(os.fsencode("".join(path)))
    assert name_of(raw).isprintable()
    assert path_of(name_of(raw)) == raw


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a b/ä.md", "/a b/ä.md"),
        ("/ä/x\u00a01.md", "/ä/x%C2%A01.md"),
        ("/100%.md", "/100%.md"),
        ("/a%20b.md", "/a%2520b.md"),
        ("/\udcff.md", "/%FF.md"),
    ],
)
def test_only_what_cannot_be_printed_is_quoted(path: str, name: str) -> None:
    assert name_of(path) == name


@pytest.mark.parametrize("root", ["docs", "my\u00a0docs", "100%25"])
@pytest.mark.parametrize("file", ["Liste 2026.md", "Liste\u00a02026.md", "soft\u00adhyphen.md", "a%20b.md"])
def test_rules_see_the_real_path(tmp_path: Path, root: str, file: str) -> None:
    path = tmp_path / root / "Geha\u0308lter" / file
    path.parent.mkdir(parents=True)
    path.write_text("text")
    corpus = Folder(tmp_path / root)
    (item,) = corpus.items()
    rules = Rules.model_validate(
        {
            "rules": [{"path": "Geh\u00e4lter/**", "readers": ["g:hr"]}],
            "default": {"readers": ["public"]},
        }
    )
    within = path_within(corpus.name, item.source)
    assert rules.permissions(within, {}, "acme").readers == ("g:hr",)
    (alone,) = Folder(path).items()
    assert alone.source == item.source


def test_rules_see_paths_below_the_root_of_all() -> None:
    assert path_within("/", "/hr/x.md") == "hr/x.md"
