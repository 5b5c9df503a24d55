"""What the cache notes of the weights that it keeps, and the lock of whoever fetches them."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from markgraph.models import manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What was known of a cached file or folder when it was checked."""

    path: Path
    sha256: str
    files: manifest.Files

    def fresh(self) -> bool:
        """Tell from sizes and times, without reading the files, whether they are as they were."""
        return manifest.unchanged(self.path, self.files)

    def same(self) -> bool:
        """Tell the same for certain: a copied cache has other times and the same bytes."""
        return self.fresh() or (
            self.path.exists() and manifest.combined(manifest.hashes(self.path)) == self.sha256
        )


@dataclass(frozen=True)
class Entry:
    """One reference and its place in the cache."""

    reference: str
    pin: str | None
    """The SHA-256 that it must have, in lower case."""
    shelf: Path
    """The `.json` and the `.lock`, without the suffix; one shelf may hold several entries."""

    def recorded(self) -> Record | None:
        found = self._read().get(self.reference)
        if not found:
            return None
        # An older release noted less of each file: those are read once more.
        files: Any = {name: each for name, each in found["files"].items() if isinstance(each, dict)}
        return Record(self.shelf.parent / found["path"], found["sha256"], files)

    def record(self, path: Path, hashes: Mapping[str, str]) -> None:
        place = path.relative_to(self.shelf.parent).as_posix()
        noted = {"path": place, "sha256": manifest.combined(hashes), "files": manifest.noted(path, hashes)}
        self._write(self._read() | {self.reference: noted})

    def discard(self, path: Path) -> None:
        """Forget the entry and delete its files."""
        self._write({other: noted for other, noted in self._read().items() if other != self.reference})
        delete(path)

    def _read(self) -> dict[str, Any]:
        try:
            noted: dict[str, Any] = json.loads(Path(f"{self.shelf}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # A power cut can leave it empty: the files are fetched anew.
            return {}
        return noted

    def _write(self, noted: dict[str, Any]) -> None:
        draft = Path(f"{self.shelf}.json.part")
        draft.write_text(json.dumps(noted, indent=2) + "\n", encoding="utf-8")
        draft.replace(f"{self.shelf}.json")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the shelf's lock, so that one process or thread fetches and the others find it done."""
        self.shelf.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{self.shelf}.lock")
        try:
            lock.acquire(timeout=1)
        except Timeout:
            logger.warning("Waiting for another process that is fetching %s", self.reference)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def delete(path: Path) -> None:
    """Delete a file or folder, and what its links lead to: a hub's cache keeps the bytes elsewhere."""
    for name in manifest.names(path):
        (path / name).resolve().unlink(missing_ok=True)  # two names may share their bytes
    if path.is_dir():
        shutil.rmtree(path)
