"""The folder of a run, and of each of its stages: every step finds there what those before it left."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markgraph.errors import SealError, StorageError, UsageError
from markgraph.json_text import json_text
from markgraph.launching.lock import TRAINING, held
from markgraph.security.caller import tenant_of
from markgraph.security.sealing.keyring import Keyring
from markgraph.security.sealing.rows import SealedRows
from markgraph.training.rows import Row

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Runs:
    """All runs of this machine."""

    folder: Path
    seal: Keyring | None = field(default=None, compare=False, repr=False)
    """Seals the rows; None leaves them in clear."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder).expanduser().absolute())

    def of(self, run: str) -> Path:
        """Return the folder of a run.

        Raises:
            UsageError: the name can't be a folder's.
        """
        if not isinstance(run, str) or not _NAME.fullmatch(run):
            raise UsageError(
                f"A run can't be called {run!r}. Allowed: 1 to 64 of the characters A-Z, a-z, 0-9, '.', '_' "
                "and '-', a letter or a digit first."
            )
        return self.folder / run

    def rows(self, file: Path) -> Sequence[Row]:
        """Return the rows of a file in a run's folder.

        Raises:
            StorageError: they are not there any more, damaged, or can't be opened.
        """
        run = self.folder / file.relative_to(self.folder).parts[0]
        # Those in clear are anybody's who has the file.
        tenant = "" if self.seal is None else self.tenant(run)
        with _reading(file):
            return [json.loads(line) for line in self.sealing(tenant).lines(file)]

    def sealing(self, tenant: str) -> SealedRows:
        """Return what keeps the rows of a tenant's runs."""
        return SealedRows(self.folder, tenant, self.seal)

    def tenant(self, run: Path) -> str:
        """Return the tenant of whoever began the run in a folder.

        Raises:
            StorageError: that can't be read.
        """
        return tenant_of(str(read_json(run / "run.json")["owner"]))


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Hold the folder of a run: only one process may train in it. A kill lets go of it.

    Raises:
        UsageError: another is at it.
    """
    with held(run / TRAINING, run.name):
        yield


def write_json(place: Path, value: Any) -> None:
    """Write `value` to `place`, all of it or nothing; a number that is not finite is null there.

    Raises:
        StorageError: it can't be written.
    """
    write_text(place, json_text(value, indent=1, sort_keys=True) + "\n")


def write_text(place: Path, text: str) -> None:
    """Write `text` to `place`, all of it or nothing.

    Raises:
        StorageError: it can't be written.
    """
    draft = place.with_name(f"{place.name}.draft")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
    except OSError as error:
        raise StorageError(f"Could not write {place}: {error}.") from error


def read_json(place: Path) -> Any:
    """Return what `write_json` wrote.

    Raises:
        StorageError: it is not there any more, or damaged.
    """
    try:
        return json.loads(place.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"Could not read {place}: {error}. Begin another run.") from error


@contextmanager
def _reading(place: Path) -> Iterator[None]:
    try:
        yield
    except SealError:
        raise
    except (OSError, ValueError) as error:
        raise StorageError(f"Could not read the rows in {place}: {error}. Begin another run.") from error


def means(scores: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the mean of each metric that has values."""
    return {metric: sum(values) / len(values) for metric, values in scores.items() if len(values)}
