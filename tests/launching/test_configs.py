"""Each launcher and sweeper of conf/ is what the command at its top chooses, and takes the settings there."""

import shlex
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin

from markgraph.cli import VERBS

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(CONF.glob("hydra/**/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_opens_with_a_command_that_chooses_it_and_makes_a_plugin(file: Path) -> None:
    first, kind = file.read_text("utf-8").splitlines()[0], file.parent.name
    _, program, verb, *words = shlex.split(first)
    assert (program, "-m" in words) == ("markgraph", True)
    chosen = [word for word in words if word.startswith("hydra")]
    assert f"hydra/{kind}={file.stem}" in chosen
    job = VERBS[verb].job if verb in VERBS else "ask"
    with initialize_config_module("markgraph.conf", version_base="1.3"):
        config = compose(job, chosen, return_hydra_config=True)
    settings = config.hydra[kind]
    assert settings.keys() == yaml.safe_load(file.read_text("utf-8")).keys()
    assert isinstance(Plugins.instance()._instantiate(settings), Plugin)
