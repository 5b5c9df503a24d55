"""The wheel works in an application that has folders of its own named `tools`, `graphs`, `nodes`, and `conf`.

An editable install can't show this: it finds packages and configs that a wheel may lack.
"""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PACKAGED = ("conf", "graphs", "hydra_plugins", "markgraph", "nodes", "tools", "training")
THEIRS = ("conf", "graphs", "nodes", "tools", "training")
pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the tree, so that nothing is left in the tree."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in PACKAGED:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy / "dist", folder=copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an interpreter that has the wheel, and our dependencies without our editable install."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place)
    interpreter = place / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        interpreter,
        "install",
        "--no-deps",
        "--no-index",
        wheel,
        folder=place,
    )
    (site,) = place.glob("lib/python*/site-packages")
    # A folder that a .pth names is searched; the .pth files within it, the editable install's, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return interpreter


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """Return somebody's application, with a document to ask about."""
    for name in THEIRS:
        package = tmp_path / "application" / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"WHOSE = 'theirs: {name}'\n", "utf-8")
    documents = tmp_path / "application" / "documents"
    documents.mkdir()
    (documents / "terms.md").write_text("# Terms\n\nPayment is due within 30 days of the invoice.\n", "utf-8")
    return tmp_path / "application"


def test_holds_every_file_of_the_tree(wheel: Path) -> None:
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = set()
    for folder in PACKAGED:
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                path = file.relative_to(ROOT).as_posix()
                expected.add(f"markgraph/{path}" if folder in THEIRS else path)
    assert packed == expected


def test_leaves_the_applications_own_packages_alone(python: Path, application: Path) -> None:
    program = f"""
import importlib, json, markgraph
graph = markgraph.load_graph("qa", ["embedder=hash", "model=fake"])
theirs = [importlib.import_module(name).WHOSE for name in {THEIRS}]
ours = [importlib.import_module(f"markgraph.{{name}}").__file__ for name in {THEIRS}]
print(json.dumps([graph.get_name(), markgraph.__file__, theirs, ours]))
"""
    name, file, theirs, ours = json.loads(run(python, "-c", program, folder=application))
    assert name == "qa"
    assert all(Path(each).is_relative_to(python.parents[1]) for each in [file, *ours])
    assert theirs == [f"theirs: {each}" for each in THEIRS]


def test_the_command_ingests_and_answers_from_there(python: Path, application: Path) -> None:
    markgraph = (python, "-m", "markgraph.cli")
    run(*markgraph, "ingest", "documents", "experiment=no_weights", folder=application)
    words = ("When is payment due?", "experiment=no_weights", "model=fake", "output=json")
    answer = json.loads(run(*markgraph, "ask", *words, folder=application))
    assert "30 days" in answer["answer"]
    assert answer["citations"][0]["source"].endswith("documents/terms.md")
    assert python.with_name("markgraph").is_file()
