"""The folders of training runs, as commands deal with them: one process at a time, and whose each is."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from omegaconf import DictConfig

from markgraph.errors import StorageError
from markgraph.launching.lock import TRAINING, held
from markgraph.models.merge import forget
from markgraph.retrieval.storage import storage_errors
from markgraph.security.caller import tenant_of
from markgraph.security.sealing.keyring import Keyring
from markgraph.security.sealing.rows import SealedRows


def folder_of(config: DictConfig) -> Path:
    """Return the folder of all runs."""
    return Path(config.data_dir).expanduser() / "training"


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Hold a run: only one process may go on with it. A kill opens the lock.

    Raises:
        UsageError: another process has it.
    """
    place = run.with_name(f"{run.name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    with held(place, run.name):
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


@contextmanager
def all_of(tenant: str | None, runs: Path) -> Iterator[list[Path]]:
    """Hold all runs that somebody of a tenant began, or, with None, all there are.

    Raises:
        UsageError: another process is at work on one.
        StorageError: it can't be told whose one is.
    """
    claims = sorted(runs.glob("*/run.json"))
    found = [claim.parent for claim in claims if tenant in (None, _tenant_of(claim))]
    with ExitStack() as several:
        for run in found:
            several.enter_context(alone(run))
            several.enter_context(held(run / TRAINING, run.name))
        yield found


def reseal(folder: Path, seal: Keyring, progress: Callable[[int], object]) -> int:
    """Seal the rows of all runs that are in clear, or under an old key, and return how many those were.

    Raises:
        UsageError: a run is in progress.
    """
    sealed = 0
    with all_of(None, folder) as found, storage_errors(folder):
        for run in found:
            sealing = SealedRows(folder, _tenant_of(run / "run.json"), seal)
            for file in sorted(run.glob("**/rows/*.jsonl")):
                rows = sealing.reseal(file)
                progress(rows)
                sealed += rows
    return sealed


def delete(runs: Sequence[Path]) -> list[str]:
    """Delete runs that are held, rows, checkpoints and models, and return their names.

    Raises:
        StorageError: one can't be deleted.
    """
    for run in runs:
        with storage_errors(run):
            forget(run)
            # What says whose it is goes last: after a kill the rest is found again.
            for each in sorted(run.iterdir(), key=lambda each: each.name == "run.json"):
                shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
            run.rmdir()
    return [run.name for run in runs]


def _tenant_of(claim: Path) -> str:
    """Return the tenant of whoever began a run."""
    try:
        owner: str = json.loads(claim.read_text("utf-8"))["owner"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"Could not read in {claim} whose run that is: {error}. Put that file back from a copy, or "
            "delete the folder."
        ) from error
    return tenant_of(owner)
