"""Imports point one way: markgraph/* <- nodes, tools <- graphs <- training; serving gets graphs passed in."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDERS = ("markgraph", "nodes", "tools", "graphs", "training")
FORBIDDEN = {
    "library": ("graphs", "nodes", "tools", "training", "serving", "commands", "cli"),
    "nodes": ("graphs", "training", "serving", "commands", "cli"),
    "tools": ("graphs", "training", "serving", "commands", "cli"),
    "graphs": ("training", "serving", "commands", "cli"),
    "training": ("serving", "commands", "cli"),
    "serving": ("graphs", "nodes", "tools", "training", "commands", "cli"),
    "commands": ("graphs", "nodes", "tools", "training"),
    "cli": ("graphs", "nodes", "tools", "training"),
}
"""What the modules of a layer must not import, below `markgraph`."""
MAY_BUILD_AT_IMPORT = {"graphs/studio.py", "markgraph/serving/langgraph_auth.py"}
"""What `langgraph.json` names: the server imports it once, and must not build within a request."""
BUILDERS = {"load_graph", "build_graph", "compose", "build", "instantiate", "create_app"}


def modules() -> list[Path]:
    """Return the modules of the project, links not followed."""
    return [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]


def layer_of(file: Path) -> str:
    """Return the layer that a module belongs to."""
    first, *rest = file.relative_to(ROOT).with_suffix("").parts
    if first != "markgraph":
        return first
    return rest[0] if rest[0] in ("serving", "commands", "cli") else "library"


def imports_of(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield what a module imports, anywhere in it, and how many leading dots that has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.level) for alias in node.names)


def calls_at_import(node: ast.AST) -> Iterator[str]:
    """Yield the names of what is called when the module is imported: not in the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Lambda):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            now = ast.Module([ast.Expr(part) for part in child.decorator_list + child.args.defaults], [])
            yield from calls_at_import(now)
            continue
        if isinstance(child, ast.Call):
            yield ast.unparse(child.func).rpartition(".")[2]
        yield from calls_at_import(child)


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_only_what_lies_below(file: Path) -> None:
    forbidden = FORBIDDEN[layer_of(file)]
    for name, level in imports_of(ast.parse(file.read_text("utf-8"))):
        assert level == 0, f"relative import of {name}"
        top, _, rest = name.partition(".")
        assert top not in ("graphs", "nodes", "tools", "training", "conf"), (
            f"{name}: import it below markgraph"
        )
        if top == "markgraph":
            assert rest.partition(".")[0] not in forbidden, f"a {layer_of(file)} module imports {name}"


def test_builds_nothing_at_import_outside_what_the_langgraph_server_imports() -> None:
    builders = {
        str(file.relative_to(ROOT))
        for file in modules()
        if BUILDERS.intersection(calls_at_import(ast.parse(file.read_text("utf-8"))))
    }
    assert builders <= MAY_BUILD_AT_IMPORT


def test_no_module_imports_studio() -> None:
    for file in modules():
        imported = dict(imports_of(ast.parse(file.read_text("utf-8"))))
        assert not any(name.startswith("markgraph.graphs.studio") for name in imported), file


def targets() -> Iterator[tuple[str, str]]:
    """Yield each `_target_` of the config, and the file that names it."""

    def walk(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            if "_target_" in node:
                yield node["_target_"]
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        for target in walk(yaml.safe_load(file.read_text("utf-8"))):
            yield str(file.relative_to(ROOT)), target


@pytest.mark.parametrize(("file", "target"), list(targets()))
def test_config_names_what_exists_in_the_library(file: str, target: str) -> None:
    module, _, name = target.rpartition(".")
    allowed = "hydra_plugins.markgraph_" if file.startswith("conf/hydra/") else "markgraph."
    assert module.startswith(allowed), f"{file} would run code from elsewhere"
    assert callable(vars(import_module(module))[name])
