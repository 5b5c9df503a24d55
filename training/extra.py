"""TRL, PEFT and datasets, which the extra `train` installs."""

import logging
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from markgraph.errors import MissingExtraError

_ONE = threading.RLock()
_TALKATIVE = ("integrations.hub_kernels", "trainer_utils")
"""Modules of transformers that say what is of no use here."""


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


@contextmanager
def quiet() -> Iterator[None]:
    """Keep notices off stderr for a while that whoever trains can do nothing about, one thread at a time.

    Warnings are the whole process's, and so are the random numbers that a training draws. PEFT 0.21 asks
    models by a name that transformers 5.23 has replaced; on a processor there are no kernels for Mamba to
    install; and checkpoints of one second are told apart by their numbers.
    """
    loggers = [logging.getLogger(f"transformers.{name}") for name in _TALKATIVE]
    for logger in loggers:
        logger.addFilter(_is_of_use)
    try:
        with _ONE, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_of_use)


def _is_of_use(record: logging.LogRecord) -> bool:
    import torch

    said = record.getMessage()
    if "falling back to numerical ordering" in said:
        return False
    return torch.cuda.is_available() or "falling back to its reference" not in said


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Training needs {error.name}. Install it: pip install 'markgraph[train]'."
        ) from error
