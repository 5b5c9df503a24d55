"""Every config composes, says how it is used, and builds without touching weights, disk, or network."""

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from markgraph.build import Graph, build_graph, compose, load_graph
from markgraph.cli import VERBS, overrides_of
from markgraph.errors import ConfigError
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Hit
from markgraph.security.caller import Caller

CONF = Path(__file__).parents[1] / "conf"
NO_WEIGHTS = ["model=fake", "embedder=hash"]

PRIMARIES = sorted(file.stem for file in CONF.glob("*.yaml") if file.stem != "base")
HYDRAS = set(CONF.glob("hydra/**/*.yaml"))
"""Launchers and sweepers: tests/launching has their test."""
OPTIONS = sorted(
    (str(file.parent.relative_to(CONF)), file.stem) for file in set(CONF.glob("*/**/*.yaml")) - HYDRAS
)
OVERLAYS = {"experiment", "tier"}
"""Groups whose options choose options of other groups."""
FILES = sorted(file for file in set(CONF.rglob("*.yaml")) - HYDRAS if file.name != "base.yaml")
GRAPHS = sorted(file.stem for file in (CONF / "graph").glob("*.yaml"))


def groups_of(primary: str) -> set[str]:
    """Return the groups that a primary config, or one that it builds on, chooses from."""
    groups = set()
    for default in yaml.safe_load((CONF / f"{primary}.yaml").read_text("utf-8"))["defaults"]:
        if isinstance(default, dict):
            chosen = {key for key in default if not key.startswith("override ")}
            groups |= chosen.union(*map(groups_within, chosen))
        elif default not in ("base", "_self_"):
            groups |= groups_of(default)
    return groups


def groups_within(group: str) -> set[str]:
    """Return the groups that options of a group choose from in turn, as `auth` does from `auth/policy`."""
    return {file.parent.relative_to(CONF).as_posix() for file in (CONF / group).glob("*/*.yaml")}


def build(graph: str, folder: Path, *overrides: str) -> Graph:
    """Build a graph the way its command does; `folder` is what an ingestion would read."""
    if graph == "ingest":
        return build_graph(compose("ingest", [f"path={folder}", "corpus=folder", *overrides]))
    return load_graph(graph, overrides)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Refuse connections, and give the weights an empty cache that must stay away."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("MARKGRAPH_CACHE", str(cache))

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield cache
    assert not cache.exists()


@pytest.mark.parametrize("primary", PRIMARIES)
def test_primary_config_composes(primary: str) -> None:
    config = compose(primary)
    assert config.data_dir == os.environ["MARKGRAPH_HOME"]
    assert OmegaConf.to_container(config, resolve=True)  # whatever a group refers to is there


def choices(primary: str) -> Iterator[dict[str, str]]:
    """Yield an option of each group until all were chosen; an overlay, which changes others, alone."""
    options = {group: [name for folder, name in OPTIONS if folder == group] for group in groups_of(primary)}
    for overlay in OVERLAYS & options.keys():
        yield from ({overlay: name} for name in options.pop(overlay) if fits(overlay, name, primary))
    for at in range(max(map(len, options.values()))):
        yield {group: names[at % len(names)] for group, names in options.items()}


def fits(overlay: str, name: str, primary: str) -> bool:
    """Tell whether a primary has all groups that an overlay chooses from: `method` is only for training."""
    chosen = yaml.safe_load((CONF / overlay / f"{name}.yaml").read_text("utf-8")).get("defaults", [])
    groups = {key.removeprefix("override /") for each in chosen if isinstance(each, dict) for key in each}
    return groups <= groups_of(primary)


@pytest.mark.parametrize("primary", PRIMARIES)
def test_every_option_composes_with_each_primary_that_has_its_group(primary: str) -> None:
    for chosen in choices(primary):
        config = compose(primary, [f"{group}={option}" for group, option in chosen.items()])
        for group, option in chosen.items():
            assert holds(config, CONF / group / f"{option}.yaml"), (group, option)


def test_every_group_belongs_to_a_primary() -> None:
    used = set().union(*(groups_of(primary) for primary in PRIMARIES))
    assert used == {group for group, _ in OPTIONS}


def holds(config: DictConfig, file: Path) -> bool:
    """Tell whether `file`, an option of a group, is part of `config`."""
    part = yaml.safe_load(file.read_text("utf-8"))
    if file.parent.name in OVERLAYS:
        return all(key in config for key in part if key != "defaults")
    there = config[file.parent.name]
    part.pop("defaults", None)
    return bool(part.keys() <= there.keys() and part.get("_target_") == there.get("_target_"))


def usage_of(file: Path) -> str:
    """Return the command in the comment that opens a config."""
    lines = file.read_text("utf-8").splitlines()
    line = lines[1] if lines[0].startswith("# @package") else lines[0]
    assert line.startswith(("# markgraph ", "# from markgraph import ")), f"{file}: {line}"
    return line.removeprefix("# ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONF)))
def test_config_opens_with_a_command_that_composes_and_uses_it(file: Path, offline: Path) -> None:
    usage = usage_of(file)
    if usage.startswith("from markgraph"):
        exec(usage, {})
        return
    for command in usage.split("; "):
        program, verb, *arguments = shlex.split(command)
        assert program == "markgraph"
        words = ["When is payment due?" if word == "..." else word for word in arguments]
        config = compose(VERBS[verb].job, overrides_of(verb, words))
        if file.parent == CONF:
            assert VERBS[verb].job == file.stem
        else:
            assert holds(config, file)


@pytest.mark.parametrize("graph", GRAPHS)
def test_graph_builds_without_weights_disk_or_network(
    graph: str, offline: Path, home: Path, tmp_path: Path
) -> None:
    assert build(graph, tmp_path).get_name() == graph
    assert not home.exists()


@pytest.mark.parametrize("group", ["model", "tier", "embedder", "index", "rerank", "domain", "experiment"])
def test_every_service_is_made_without_weights_disk_or_network(group: str, offline: Path, home: Path) -> None:
    options = (name for folder, name in OPTIONS if folder == group)
    for option in (name for name in options if group not in OVERLAYS or fits(group, name, "ask")):
        assert load_graph("qa", [f"{group}={option}"]).get_name() == "qa"
    assert not home.exists()


@pytest.mark.parametrize("file", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_what_an_experiment_sets_goes_before_what_its_command_has(file: Path) -> None:
    text = file.read_text("utf-8")
    command = next(line.split() for line in text.splitlines() if line.startswith("# markgraph "))
    config = compose(command[2], [f"experiment={file.stem}"])
    plain = {key: value for key, value in yaml.safe_load(text).items() if isinstance(value, str | int)}
    assert {key: config[key] for key in plain} == plain


def test_a_service_that_the_graph_has_no_use_for_is_not_made(offline: Path) -> None:
    config = compose("draw", [*NO_WEIGHTS, "corpus=eu_law"])
    assert build_graph(config).get_name() == "qa"


def test_an_unknown_service_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"'modle'. Allowed: .*model, policy, ratings, rerank, seal. Did you mean 'model'?"
    ):
        load_graph("qa", NO_WEIGHTS, modle=FakeChatModel())


def test_a_given_service_takes_the_place_of_the_configured_one_which_is_never_made() -> None:
    broken = ["embedder=hash", "model=fake", "model.responses=[]"]
    with pytest.raises(ConfigError, match=r"Could not build model: .*at least 1 item"):
        load_graph("qa", broken)
    assert load_graph("qa", broken, model=FakeChatModel()).get_name() == "qa"


class CountedEmbeddings(HashEmbeddings):
    """Counts how many of it are made, and remembers what it was asked to embed."""

    made: ClassVar[list["CountedEmbeddings"]] = []

    def __init__(self, dimensions: int = 256) -> None:
        super().__init__(dimensions)
        self.asked: list[str] = []
        self.made.append(self)

    def embed_query(self, text: str) -> list[float]:
        self.asked.append(text)
        return super().embed_query(text)


def test_a_service_is_made_once_and_shared_by_the_index_and_the_nodes(tmp_path: Path, reader: Caller) -> None:
    CountedEmbeddings.made.clear()
    (tmp_path / "terms.md").write_text("# Terms\n\nPayment is due within 30 days of the invoice.\n", "utf-8")
    counted = ["embedder=hash", f"embedder._target_={__name__}.CountedEmbeddings"]
    writer = Caller(reader.subject, ("reader", "writer"))
    build("ingest", tmp_path / "terms.md", *counted).invoke({"limit": None}, context=writer)
    assert len(CountedEmbeddings.made) == 1
    load_graph("qa", ["model=fake", *counted]).invoke({"question": "When is payment due?"}, context=reader)
    assert len(CountedEmbeddings.made) == 2
    asked = CountedEmbeddings.made[1].asked
    assert asked.count("When is payment due?") > 1, "route and index, at least, ask the same object"


class CountingIndex:
    """Finds nothing, and remembers how much was asked for."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 1

    def search(self, query: str, caller: Caller, k: int) -> list[Hit]:
        self.asked.append(k)
        return []


def test_twenty_threads_build_at_once_and_each_gets_its_own_config(reader: Caller) -> None:
    def asked_for(k: int) -> list[int]:
        index = CountingIndex()
        graph = load_graph("qa", [*NO_WEIGHTS, f"graph.retrieve.k={k}"], index=index)
        graph.invoke({"question": "When is payment due?"}, context=reader)
        return index.asked

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(asked_for, range(1, 21))) == [[k] for k in range(1, 21)]


def test_builds_within_a_hydra_application_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("name: outer\nhydra: {run: {dir: .}, output_subdir: null}\n", "utf-8")
    (tmp_path / "app.py").write_text(APP, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "app.py", "name=changed"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "qa changed changed app\n"), done.stderr


APP = """
import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from markgraph import load_graph

@hydra.main(version_base="1.3", config_path=".", config_name="app")
def main(config):
    graph = load_graph("qa", ["model=fake", "embedder=hash"])
    composed = GlobalHydra.instance().hydra.compose_config(
        "app", ["name=changed"], run_mode=RunMode.RUN)
    print(graph.get_name(), config.name, composed.name, HydraConfig.get().job.name)

main()
"""
