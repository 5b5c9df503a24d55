"""Keeps snapshots on disk, sealed, so that what was read before need not be read again after a restart.

    FOLDER/                                        0700
        3fa1...-1436-9b02...-7c1d9a40.state        shelf, tokens, prefix and key id; what is in it is sealed
        .lock                                      held by the process that writes
    FOLDER.keys.json                               0600, see `markgraph.engines.native.seal`

Shelf and prefix are keyed hashes. Who can read the folder, but not the key file, learns how many tokens were
read, when, and which states are of one scope, and nothing of what the tokens are. A file that is damaged,
that was moved, or whose key is gone counts as missing and is deleted.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from filelock import Timeout

from markgraph.engines.native.bounded_folder import BoundedFolder
from markgraph.engines.native.decoder import Snapshot
from markgraph.engines.native.seal import Keyring, Seal, SealBrokenError
from markgraph.engines.native.snapshot import Prefix, TensorSnapshot
from markgraph.errors import StorageError

logger = logging.getLogger(__name__)

_FORMAT = b"1"
_NAME = re.compile(
    r"(?P<shelf>[0-9a-f]{32})-(?P<end>\d+)-(?P<prefix>[0-9a-f]{32})-(?P<key>[A-Za-z0-9]+)\.state"
)
_BACKLOG = 4
"""Batches that may wait to be written; they are in memory meanwhile."""


@dataclass
class StateCacheStats:
    """What was done so far, for metrics."""

    loaded: int = 0
    written: int = 0
    refused: int = 0
    """Files that did not open, and were deleted."""
    unwritten: int = 0
    """Times that something was not kept: a full disk, or more to write than the disk keeps up with."""


class StateCache:
    """A folder of sealed snapshots within a bound, the least recently used deleted first.

    Lookups belong to one thread; another one writes, so that nobody waits for it. Several processes may
    share a folder and its key file.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        model: str,
        adapters: Mapping[str, str] | None = None,
        keyring: Path | None = None,
    ) -> None:
        """Open the cache in `folder`, which is made if it is missing.

        Args:
            folder: holds the states of any models.
            max_bytes: bound on what the files take.
            model: whatever makes the states of one model useless to another: a digest of its weights, and
                the form that it computes in.
            adapters: a digest of the weights of each adapter, by the name that it is asked for.
            keyring: the key file; otherwise `FOLDER.keys.json`.

        Raises:
            StorageError: the folder or the key file can't be used.
        """
        self.stats = StateCacheStats()
        self.folder = BoundedFolder(folder, max_bytes, _NAME)
        self._model = model
        self._adapters = dict(adapters or {})
        self._keyring = Keyring.open(keyring or folder.with_name(f"{folder.name}.keys.json"))
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="state-cache")
        self._pending: set[Future[None]] = set()
        self._indexed: frozenset[str] = frozenset()
        self._lengths: dict[str, set[int]] = {}
        self._drop_without_key()

    def shelf(self, scope: str, adapter: str | None) -> "Shelf":
        """Return what belongs to one scope and adapter.

        Raises:
            KeyError: the cache was given no digest of this adapter.
        """
        whose = (self._model, scope, adapter or "", self._adapters[adapter] if adapter else "")
        seals = {
            key: self._keyring.seal(key, f"markgraph/state/{scope}") for key in self._keyring.newest_first
        }
        return Shelf(self, seals, (_FORMAT, *(part.encode() for part in whose)))

    def lengths(self, shelf: str) -> set[int]:
        """Return how many tokens the states on a shelf have read."""
        names = self.folder.names()
        if names is not self._indexed:
            self._indexed, self._lengths = names, {}
            for found in filter(None, map(_NAME.fullmatch, names)):
                self._lengths.setdefault(found["shelf"], set()).add(int(found["end"]))
        return self._lengths.get(shelf, set())

    def refuse(self, name: str, why: Exception) -> None:
        """Count a file that did not open, and delete it."""
        self.stats.refused += 1
        logger.warning("The sealed state %s is deleted: %s", name, why)
        self.folder.drop(name)

    def write(self, shelf: "Shelf", snapshots: Sequence[tuple[Prefix, Snapshot]]) -> None:
        """Write snapshots in the background, those that others build on first."""
        if len(self._pending) >= _BACKLOG:
            self.stats.unwritten += 1
            return
        job = self._writer.submit(self._write, shelf, snapshots)
        self._pending.add(job)
        job.add_done_callback(self._done)

    def flush(self) -> None:
        """Wait until everything that was put so far is written."""
        wait(list(self._pending))

    def close(self) -> None:
        """Write what was put so far, and take no more."""
        self._writer.shutdown()

    def _write(self, shelf: "Shelf", snapshots: Sequence[tuple[Prefix, Snapshot]]) -> None:
        """Write until one can't be: those that build on it would be of no use."""
        try:
            for prefix, snapshot in snapshots:
                name, content = shelf.seal(prefix, snapshot)
                if not self.folder.write(name, content, rank=prefix.end):
                    break
                self.stats.written += 1
        except (OSError, Timeout) as error:
            self.stats.unwritten += 1
            logger.warning("A state was not written to %s: %s", self.folder.path, error)

    def _done(self, job: Future[None]) -> None:
        self._pending.discard(job)
        if error := job.exception():
            logger.error("Writing a state to %s failed.", self.folder.path, exc_info=error)

    def _drop_without_key(self) -> None:
        """Delete what nobody can open any more."""
        for name in self.folder.names():
            found = _NAME.fullmatch(name)
            if found and found["key"] not in self._keyring.keys:
                self.refuse(name, StorageError(f"there is no key {found['key']}"))


@dataclass(frozen=True)
class Shelf:
    """The states of one model, scope and adapter."""

    cache: StateCache
    seals: Mapping[str, Seal]
    """By the id of the key, the newest first."""
    whose: tuple[bytes, ...]
    """What its states are bound to: none of another shelf opens here."""

    def lengths(self) -> set[int]:
        """Return how many tokens the states on it have read."""
        return set().union(*(self.cache.lengths(self._label(seal)) for seal in self.seals.values()))

    def get(self, prefix: Prefix) -> Snapshot | None:
        """Return the snapshot of `prefix`, if it is there and whole."""
        for name, seal in self._named(prefix):
            try:
                plain = seal.open(self.cache.folder.read(name), *self._bound(prefix))
            except (OSError, SealBrokenError) as error:
                self.cache.refuse(name, error)
                continue
            self.cache.stats.loaded += 1
            return _snapshot(plain)
        return None

    def touch(self, prefixes: Iterable[Prefix]) -> None:
        """Take note that these were used now."""
        for prefix in prefixes:
            for name, _ in self._named(prefix):
                self.cache.folder.touch(name, rank=prefix.end)

    def put(self, saved: Sequence[tuple[Prefix, Snapshot]]) -> None:
        """Have these written in the background, each after those that it builds on."""
        missing = [(prefix, snapshot) for prefix, snapshot in saved if not any(self._named(prefix))]
        if missing:
            self.cache.write(self, missing)

    def seal(self, prefix: Prefix, snapshot: Snapshot) -> tuple[str, bytes]:
        """Return the name and the content of the file for `snapshot`."""
        key_id, seal = next(iter(self.seals.items()))
        meta = {"start": str(snapshot.start), "end": str(snapshot.end)}
        tensors = {name: tensor.contiguous() for name, tensor in snapshot.tensors.items()}
        plain = safetensors.torch.save(tensors, meta)
        return self._name(key_id, seal, prefix), seal.close(plain, *self._bound(prefix))

    def _label(self, seal: Seal) -> str:
        return seal.name(b"shelf", *self.whose)

    def _name(self, key_id: str, seal: Seal, prefix: Prefix) -> str:
        return f"{self._label(seal)}-{prefix.end}-{seal.name(b'prefix', *self._bound(prefix))}-{key_id}.state"

    def _named(self, prefix: Prefix) -> Iterator[tuple[str, Seal]]:
        """Yield the files that there are of `prefix`, and what opens them."""
        names = self.cache.folder.names()
        for key_id, seal in self.seals.items():
            if (name := self._name(key_id, seal, prefix)) in names:
                yield name, seal

    def _bound(self, prefix: Prefix) -> tuple[bytes, ...]:
        return (*self.whose, prefix.key, str(prefix.end).encode())


def _snapshot(plain: bytes) -> TensorSnapshot:
    """Read what `Shelf.seal` wrote."""
    header = json.loads(plain[8 : 8 + int.from_bytes(plain[:8], "little")])
    meta = header["__metadata__"]
    return TensorSnapshot(int(meta["start"]), int(meta["end"]), safetensors.torch.load(plain))
