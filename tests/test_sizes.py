"""Files and functions stay short enough to be read in one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE_LINES, FUNCTION_LINES = 300, 40
"""Upper bounds; aim for 120 and 12."""


def python_files() -> Iterator[Path]:
    """Yield the files of the repository; links into it, and folders that tools keep, are left out."""
    for file in ROOT.rglob("*.py"):
        folders = file.relative_to(ROOT).parts[:-1]
        if not any(name.startswith(".") or name in ("build", "dist") for name in folders):
            yield file


def test_no_file_is_longer_than_the_bound() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text("utf-8").splitlines()) for file in python_files()
    }
    assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}
    assert len(lengths) > 50, "the walk found too little to mean anything"


def test_no_function_outside_tests_is_longer_than_the_bound() -> None:
    long = {}
    for file in python_files():
        if "tests" in file.relative_to(ROOT).parts:
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION_LINES:
                    long[f"{file.relative_to(ROOT)}:{node.name}"] = length
    assert long == {}
