"""An audit log in files of this machine."""

import hmac
import logging
import os
import threading
from copy import copy
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any, Self

from markgraph.audit.chain import Chain, Head, now
from markgraph.audit.disk import RETRY, Disk
from markgraph.audit.keys import HASH, Keys
from markgraph.audit.types import Composed, Event, Until
from markgraph.errors import ConfigError, StorageError

READS = ("graph:run", "documents:read", "models:use", "threads:read")
"""What may go on without a log where `reads` is best_effort."""
POLICIES = ("required", "best_effort")
CONFIGS = "configs"
"""The folder of the configs that records name."""
MOST_PENDING = 1_000
"""Records that wait where the log can't be written and needn't be; more are lost, and counted."""
_BEGINNING = threading.Lock()
_LOG = logging.getLogger(__name__)


def none() -> None:
    """Take nothing down."""


class FileAudit:
    """Takes events down in a chain of records.

    A thread writes them within milliseconds, and signs how far the log goes; what must not happen without
    its record waits until that is written, or until it would outlive a power failure.
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

    def write(self, event: Event, until: Until = "taken") -> None:
        """Take an event down; the log keeps the order in which events come.

        Args:
            event: what happened.
            until: when to come back.

        Raises:
            StorageError: it can't be taken down. Where `reads` is best_effort, a warning says so of what
                only reads, and the event is written when that can be done again.
        """
        needed = self._reads_need_it or event["action"] not in READS
        try:
            self._writer.write(event, self.config, until, needed)
        except StorageError as error:
            if needed:
                raise
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
        self._chain = chain
        self._process: int | None = None

    def write(self, event: Event, config: Composed | None, until: Until, needed: bool) -> None:
        """Write an event behind those that are on their way; one that is needed, or not at all.

        Raises:
            StorageError: the log can't be written.
        """
        self._begin()
        with self._lock:
            self._pending.append(({"time": now(), **event}, config))
            try:
                self._append_if_due(until, needed)
            except (OSError, StorageError) as error:
                if needed:
                    self._pending.pop()
                elif len(self._pending) > MOST_PENDING:
                    self._pending.pop()
                    self._lost += 1
                raise self._cannot(error) from error
            head = self._head
        if until == "safe" and head is not None:
            try:
                self._disk.wait(head)
            except OSError as error:
                raise self._cannot(error) from error
        else:
            self._disk.tell()

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
            self._chain.close()
            self._process = None

    def _begin(self) -> None:
        """Start what belongs to this process: threads, locks and open files don't outlive a fork."""
        if self._process != os.getpid():
            with _BEGINNING:
                if self._process != os.getpid():
                    if self._process is not None:
                        self._chain = Chain(self._chain.folder, self._chain.keys, self._chain.max_bytes)
                    self._lock = threading.Lock()
                    self._pending: list[tuple[Event, Composed | None]] = []
                    self._lost = 0
                    self._head: Head | None = None
                    self._error: Exception | None = None
                    self._again = 0.0
                    self._kept: set[str] = set()
                    self._disk = Disk(self._flush, self._chain.sync)
                    self._process = os.getpid()

    def _append_if_due(self, until: Until, needed: bool) -> None:
        """Write what is on its way where somebody waits for that, and where it is not known to work.

        Raises:
            OSError, StorageError: it does not work, or did not a moment ago and isn't needed.
        """
        if self._error and not needed and monotonic() < self._again:
            raise self._error
        if until != "taken" or self._error or self._head is None:
            self._append()

    def _flush(self) -> Head:
        """Write what is on its way, and return how far the log goes."""
        with self._lock:
            self._append()
            assert self._head is not None
            return self._head

    def _append(self) -> None:
        """Write what is on its way; what can't be written stays on its way."""
        if not self._pending:
            return
        try:
            for config in {config.hash: config for _, config in self._pending if config}.values():
                self._keep(config)
            lost: list[Event] = [{"action": "audit:lost", "records": self._lost}] if self._lost else []
            self._head = self._chain.append([*lost, *(event for event, _ in self._pending)])
        except (OSError, StorageError) as error:
            self._error, self._again = error, monotonic() + RETRY
            raise
        self._error, self._lost = None, 0
        self._pending.clear()

    def _cannot(self, error: Exception) -> StorageError:
        if isinstance(error, StorageError):
            return error
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
