"""What a collection may be called, and which there are: each is a folder of the data folder."""

import re
from pathlib import Path

from omegaconf import DictConfig

from markgraph.errors import ConfigError

RESERVED = ("audit", "conf", "mlflow", "models", "notes", "sweeps", "tensorboard", "training")
"""Folders beside the collections that hold something else."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_collection(config: DictConfig) -> None:
    """Refuse a collection that would be another folder than one of its own.

    Raises:
        ConfigError: saying what is allowed.
    """
    name = config.get("collection", "documents")
    if isinstance(name, str) and _NAME.fullmatch(name) and name.lower() not in RESERVED:
        return
    raise ConfigError(
        f"Config 'collection' has value {name!r}. Allowed: 1 to 63 of the characters A-Z, a-z, 0-9, '.', '_' "
        "and '-', a letter or a digit first, no number alone, and none of the names "
        f"{', '.join(RESERVED)}, which are taken."
    )


def check_data_dir(config: DictConfig) -> None:
    """Refuse a data folder that is no path.

    Raises:
        ConfigError: saying what is allowed.
    """
    place = config.get("data_dir", ".")
    if not isinstance(place, str):
        got = "null" if place is None else repr(place)
        raise ConfigError(f"Config 'data_dir' has value {got}. Allowed: the path of a folder, as text.")


def collections_in(data_dir: str | Path) -> list[str]:
    """Return the collections that something was ingested into, those of evaluations left out."""
    ledgers = Path(data_dir).expanduser().glob("*/ledger.sqlite")
    return sorted(ledger.parent.name for ledger in ledgers)
