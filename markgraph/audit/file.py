"""An audit log in files of this machine."""

import hmac
import logging
import os
import threading
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from markgraph.audit.chain import Chain
from markgraph.audit.disk import Disk
from markgraph.audit.keys import HASH, Keys
from markgraph.audit.types import Composed, Event
from markgraph.errors import ConfigError, StorageError

READS = ("graph:run", "documents:read", "models:use", "threads:read", "metrics:read")
"""What may go on without a log where `reads` is best_effort."""
POLICIES = ("required", "best_effort")
CONFIGS = "configs"
"""The folder of the configs that records name."""
_BEGINNING = threading.Lock()
_LOG = logging.getLogger(__name__)


def none() -> None:
    """Take nothing down."""


class FileAudit:
    """Takes events down in a chain of records.

    A record outlives the process as soon as it is written, and a power failure a few milliseconds later.
    Nothing is written, and no key made, before the first event.
    """

    def __init__(self, folder: str, keys: str, reads: str = "required", max_mib: int = 64) -> None:
        """Remember where the log is.

        Args:
            folder: of the log.
            keys: the folder of its keys.
            reads: whether what only reads needs the log: `required`, or `best_effort`.
            max_mib: a file of the log is full when it has so many MiB.

        Raises:
            ConfigError: `reads` or `max_mib` is none that is allowed.
        """
        if reads not in POLICIES:
            raise ConfigError(f"audit.reads has value {reads!r}. Allowed: {', '.join(POLICIES)}.")
        if max_mib < 1:
            raise ConfigError(f"audit.max_mib is {max_mib}. Allowed: a whole number from 1.")
        self.folder = Path(folder).expanduser()
        self.keys = Keys(Path(keys).expanduser())
        self.config: Composed | None = None
        self._reads_need_it = reads == "required"
        self._writer = _Writer(Chain(self.folder, self.keys, max_mib << 20))

    def of(self, config: Composed) -> Self:
        """Return the same log for a graph with this config, which is kept beside the log."""
        mine = copy(self)
        mine.config = config
        return mine

    def write(self, event: Event, *, wait: bool = False) -> None:
        """Take an event down.

        Args:
            event: what happened.
            wait: come back only when it would outlive a power failure, with everything before it.

        Raises:
            StorageError: it can't be taken down. Where `reads` is best_effort, a warning says so of what
                only reads, and the next record that can be written counts what was lost.
        """
        try:
            self._writer.write(event, self.config, wait)
        except StorageError as error:
            if self._reads_need_it or event["action"] not in READS:
                raise
            self._writer.lost += 1
            _LOG.warning("%s", error)

    def sealed(self, text: str) -> dict[str, Any]:
        """Return a keyed hash of `text` and its length: it tells texts apart, and nobody what they say.

        Raises:
            StorageError: there is no key to be had, and `reads` is required.
        """
        digest = None
        try:
            digest = hmac.digest(self._writer.words, text.encode(errors="replace"), HASH).hex()
        except StorageError:
            if self._reads_need_it:
                raise
        return {"hmac": digest, "length": len(text)}

    def close(self) -> None:
        """Wait until everything is safe that was taken down so far."""
        self._writer.close()


class _Writer:
    """Writes to a chain from any thread, and in a forked process as well."""

    def __init__(self, chain: Chain) -> None:
        self.lost = 0
        """Events that could not be written, and were not needed."""
        self._chain = chain
        self._process: int | None = None
        self._kept: set[str] = set()

    def write(self, event: Event, config: Composed | None, wait: bool) -> None:
        """Write an event, and what was lost before it.

        Raises:
            StorageError: the log can't be written.
        """
        try:
            self._begin()
            with self._lock:
                if config:
                    self._keep(config)
                lost = [{"action": "audit:lost", "records": self.lost}] if self.lost else []
                head = self._chain.append(*lost, event)
                self.lost = 0
            self._disk.wrote(head)
            if wait:
                self._disk.wait(head)
        except OSError as error:
            raise self._cannot(error) from error

    @cached_property
    def words(self) -> bytes:
        """Return the secret that words are hashed with; it is made with the log.

        Raises:
            StorageError: there is none, and none can be made.
        """
        try:
            with self._chain.alone():
                return self._chain.keys.words()
        except OSError as error:
            raise self._cannot(error) from error

    def close(self) -> None:
        if self._process == os.getpid():
            self._disk.close()
            self._process = None

    def _begin(self) -> None:
        """Start what belongs to this process: threads and locks don't outlive a fork."""
        if self._process != os.getpid():
            with _BEGINNING:
                if self._process != os.getpid():
                    self._lock, self._disk = threading.Lock(), Disk(self._chain)
                    self._process = os.getpid()

    def _cannot(self, error: OSError) -> StorageError:
        return StorageError(
            f"The audit log in {self._chain.folder} can't be written: {error}. Make room, or give access to "
            "it; what must be taken down is refused until then."
        )

    def _keep(self, config: Composed) -> None:
        """Keep a config beside the log, once."""
        if config.hash in self._kept:
            return
        place = self._chain.folder / CONFIGS / f"{config.hash}.json"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = place.with_suffix(f".{os.getpid()}.part")
            draft.write_text(config.text, encoding="utf-8")
            draft.replace(place)
        self._kept.add(config.hash)
