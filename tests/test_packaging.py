"""What an editable install hides: a package, a config or a link that would be missing from the wheel."""

import json
import re
import tomllib
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = ("conf", "graphs", "nodes", "tools", "training")
"""Folders at the top of the tree that are packages below `markgraph`."""
HYDRAS = "hydra_plugins"
"""Where Hydra looks for plugins: a namespace of many distributions, so without an init file."""

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


def packages_in_the_tree() -> set[str]:
    """Return the import name of each folder with Python modules, links not followed."""
    found = set()
    for top in ("markgraph", HYDRAS, *MAPPED):
        for module in (ROOT / top).rglob("*.py"):
            name = ".".join(module.parent.relative_to(ROOT).parts)
            found.add(f"markgraph.{name}" if top in MAPPED else name)
    return found


def test_lists_every_package_of_the_tree() -> None:
    assert len(SETUPTOOLS["packages"]) == len(set(SETUPTOOLS["packages"]))
    assert set(SETUPTOOLS["packages"]) == packages_in_the_tree()


def test_every_package_has_an_init_file() -> None:
    bare = [
        name
        for name in packages_in_the_tree() - {HYDRAS}
        if not (ROOT / "markgraph" / Path(*name.split(".")[1:]) / "__init__.py").is_file()
    ]
    assert bare == []


def test_the_namespace_of_hydras_plugins_stays_open_to_others() -> None:
    assert not (ROOT / HYDRAS / "__init__.py").exists()


def test_maps_the_folders_at_the_top_under_one_import_name() -> None:
    expected = {"markgraph": "markgraph"} | {f"markgraph.{folder}": folder for folder in MAPPED}
    assert SETUPTOOLS["package-dir"] == expected


@pytest.mark.parametrize("folder", MAPPED)
def test_links_each_mapped_folder_for_editors_and_type_checkers(folder: str) -> None:
    link = ROOT / "markgraph" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..", folder)


def test_packages_every_config_file() -> None:
    patterns = [pattern.removeprefix("**/") for pattern in SETUPTOOLS["package-data"]["*"]]
    assert (ROOT / "markgraph/py.typed").is_file()
    assert any(fnmatch("py.typed", pattern) for pattern in patterns)
    for config in (ROOT / "conf").rglob("*.y*ml"):
        assert any(fnmatch(config.name, pattern) for pattern in patterns), config


def test_langgraph_json_names_objects_that_import(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKGRAPH_OVERRIDES", "model=fake embedder=hash")
    server = json.loads((ROOT / "langgraph.json").read_text("utf-8"))
    paths = [graph["path"] for graph in server["graphs"].values()] + [server["auth"]["path"]]
    for path in paths:
        module, _, name = path.partition(":")
        assert module.startswith("markgraph."), path
        assert vars(import_module(module))[name] is not None
    assert not home.exists()


def test_the_changelog_has_a_heading_for_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert PYPROJECT["project"]["version"] in headings


def test_the_command_is_the_entry_point() -> None:
    assert PYPROJECT["project"]["scripts"] == {"markgraph": "markgraph.cli:main"}
