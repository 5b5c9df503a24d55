"""TRL, PEFT and datasets, which the extra `train` installs."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from markgraph.errors import MissingExtraError


def trl() -> Any:
    """Return TRL.

    Raises:
        MissingExtraError: it is not installed.
    """
    return _package("trl")


def peft() -> Any:
    """Return PEFT.

    Raises:
        MissingExtraError: it is not installed.
    """
    return _package("peft")


def adapted(model: Any, folder: Path) -> Any:
    """Return `model` with the adapter in `folder` over it.

    Raises:
        MissingExtraError: PEFT is not installed.
    """
    return peft().PeftModel.from_pretrained(model, folder, local_files_only=True, trust_remote_code=False)


def dataset(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows as TRL takes them: a `datasets.Dataset`, in memory.

    Raises:
        MissingExtraError: datasets is not installed.
    """
    return _package("datasets").Dataset.from_list([dict(row) for row in rows])


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Training needs {error.name}. Install it: pip install 'markgraph[train]'."
        ) from error
