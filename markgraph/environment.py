"""What the environment says of the config: variables, and a person's own config files."""

import os
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from markgraph.errors import ConfigError

CONFIG_MODULE = "markgraph.conf"
CLIENTS = ("confirm", "resume", "run", "output")
"""Settings of `markgraph train` that are about one run."""


def server_overrides() -> list[str]:
    """Return the overrides in MARKGRAPH_OVERRIDES: LangGraph Server has no command line that we could read.

    Its graphs and its door are given all of them. To sort them by their names would lose what an overlay
    such as `experiment=` says of the other.
    """
    return shlex.split(os.environ.get("MARKGRAPH_OVERRIDES", ""))


def training_overrides() -> list[str] | None:
    """Return the overrides in MARKGRAPH_TRAIN: what LangGraph Server's graph `train` trains, and how.

    They are those of `markgraph train`. None: it trains nothing.

    Raises:
        ConfigError: one is for whoever starts a run to say.
    """
    overrides = shlex.split(os.environ.get("MARKGRAPH_TRAIN", ""))
    for each in overrides:
        if each.partition("=")[0].lstrip("+~") in CLIENTS:
            raise ConfigError(
                f"MARKGRAPH_TRAIN says {each!r}. Allowed: what is trained, and how; whoever starts a run "
                "names it, and confirms it. Leave it out."
            )
    return overrides or None


def check_environment() -> None:
    """Refuse a MARKGRAPH_SEAL that is no option of conf/seal/.

    Raises:
        ConfigError: naming those that there are.
    """
    chosen = os.environ.get("MARKGRAPH_SEAL", "none")
    options = sorted(
        file.name.removesuffix(".yaml")
        for file in files(CONFIG_MODULE).joinpath("seal").iterdir()
        if file.name.endswith(".yaml")
    )
    if chosen not in options:
        raise ConfigError(f"MARKGRAPH_SEAL is {chosen!r}. Allowed: {', '.join(options)}.")


def home() -> Path:
    """Return the folder of everything that is kept, unless a config's `data_dir` says otherwise."""
    usual = Path(os.environ.get("HOME", "."), ".local/share/markgraph")
    return Path(os.environ.get("MARKGRAPH_HOME") or usual).expanduser().absolute()


def own_configs(data_dir: str | None = None) -> Path:
    """Return where a person's own config files are, laid out like conf/: `experiment/NAME.yaml`."""
    return (Path(data_dir).expanduser().absolute() if data_dir else home()) / "conf"


def search_path(overrides: Sequence[str]) -> list[str]:
    """Return the override that lets Hydra find a person's own config files, where there are any."""
    chosen = [value for key, _, value in (each.partition("=") for each in overrides) if key == "data_dir"]
    folder = own_configs(chosen[-1].strip("'\"") if chosen else None)
    if not folder.is_dir() or any(each.startswith("hydra.searchpath=") for each in overrides):
        return []
    escaped = str(folder).replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
    return [f"hydra.searchpath=['file://{escaped}']"]
