"""Keeps the states of sequences that were read, so that a prompt that begins alike starts from there.

Keys and values are kept in blocks of some tokens, each once, whoever shares it (after vLLM's automatic
prefix caching, Kwon et al. 2023, with hashes for block tables). A recurrent state can't be cut, so it is
kept whole, at the places where `keep` is called.
"""

import hashlib
import json
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markgraph.engines.native.decoder import Decoder, SequenceState, Snapshot
from markgraph.engines.native.snapshot import Prefix, SnapshotStore, TensorSnapshot

if TYPE_CHECKING:
    from markgraph.engines.native.state_cache import Shelf, StateCache


@dataclass
class PrefixStats:
    """What the cache did so far, for metrics."""

    lookups: int = 0
    hits: int = 0
    """Lookups that found something."""
    tokens_reused: int = 0


class PrefixCache:
    """Snapshots by what was read, within a bound, the least recently used dropped first.

    Not thread-safe: it belongs to the thread that owns the decoder. Snapshots of different scopes or
    adapters never meet: both go into every key.
    """

    def __init__(
        self, decoder: Decoder, max_bytes: int, disk: "StateCache | None" = None, block: int = 64
    ) -> None:
        """Cache for `decoder`.

        Args:
            decoder: what saves the states.
            max_bytes: bound on what is kept in memory; 0 keeps nothing there.
            disk: where snapshots are kept too, sealed, and looked for when memory has none.
            block: tokens in a block of keys and values; without meaning where the decoder is cumulative.
        """
        self.stats = PrefixStats()
        self._decoder = decoder
        self._disk = disk
        self._block = block
        self._store = SnapshotStore(max_bytes)

    @property
    def nbytes(self) -> int:
        """Return the memory that is used, in bytes."""
        return self._store.nbytes

    @property
    def evictions(self) -> int:
        """Return how many snapshots had to make room for others."""
        return self._store.evictions

    def longest(self, ids: Sequence[int], scope: str, adapter: str | None) -> list[Snapshot]:
        """Return the snapshots of the longest beginning of `ids` that was kept, for `Decoder.restore`.

        They follow one another from token 0 and cover fewer tokens than `ids` has, so that one is left to
        read. Empty when nothing was kept.
        """
        shelf = self._disk.shelf(scope, adapter) if self._disk else None
        root = _root(scope, adapter)
        look = self._longest_whole if self._decoder.cumulative else self._longest_chain
        found = look(ids[:-1], root, shelf)
        self._store.touch(found)
        if shelf:
            shelf.touch(found)
        snapshots = list(found.values())
        self.stats.lookups += 1
        if snapshots:
            self.stats.hits += 1
            self.stats.tokens_reused += snapshots[-1].end
        return snapshots

    def keep(self, ids: Sequence[int], state: SequenceState, scope: str, adapter: str | None) -> None:
        """Keep a copy of `state`, which has read the first `state.length` tokens of `ids`.

        Of keys and values, full blocks are kept. What does not fit the bound is left out.

        Raises:
            ValueError: the state has read more than `ids`.
        """
        if state.length > len(ids):
            raise ValueError(f"A state that has read {state.length} tokens can't be kept under {len(ids)}.")
        read, root = ids[: state.length], _root(scope, adapter)
        if self._decoder.cumulative:
            prefixes = list(_wholes(read, root, [len(read)] if read else []))
        else:
            prefixes = list(_chain(read, root, self._block))
        fresh = [prefix for prefix in prefixes if prefix not in self._store]
        self._store.touch(prefixes)
        saved = list(self._save(state, fresh)) if fresh else []
        for prefix, snapshot in saved:
            self._store.add(prefix, snapshot, spare=set(prefixes))
        self._store.touch(prefixes)
        if self._disk:
            self._disk.shelf(scope, adapter).put(saved)

    def close(self) -> None:
        """Write what is kept on disk, and take no more."""
        if self._disk:
            self._disk.close()

    def _longest_whole(
        self, ids: Sequence[int], root: bytes, shelf: "Shelf | None"
    ) -> dict[Prefix, Snapshot]:
        """Try the lengths that something was kept at, the longest first."""
        lengths = self._store.lengths(root) | (shelf.lengths() if shelf else set())
        for prefix in reversed(list(_wholes(ids, root, lengths))):
            if snapshot := self._find(prefix, shelf, spare=()):
                return {prefix: snapshot}
        return {}

    def _longest_chain(
        self, ids: Sequence[int], root: bytes, shelf: "Shelf | None"
    ) -> dict[Prefix, Snapshot]:
        """Follow the blocks from the first as far as they were kept."""
        found: dict[Prefix, Snapshot] = {}
        for prefix in _chain(ids, root, self._block):
            snapshot = self._find(prefix, shelf, spare=found)
            if snapshot is None:
                break
            found[prefix] = snapshot
        return found

    def _find(self, prefix: Prefix, shelf: "Shelf | None", spare: Collection[Prefix]) -> Snapshot | None:
        """Return a snapshot from memory, else from disk, and then keep it in memory too."""
        snapshot = self._store.get(prefix)
        if snapshot is None and shelf and (snapshot := shelf.get(prefix)):
            self._store.add(prefix, snapshot, spare)
        return snapshot

    def _save(self, state: SequenceState, prefixes: Sequence[Prefix]) -> Iterator[tuple[Prefix, Snapshot]]:
        """Copy out of `state` what each prefix adds to the one before it: all of it, or a block."""
        if self._decoder.cumulative:
            yield from ((prefix, self._decoder.save(state, 0)) for prefix in prefixes)
            return
        start = prefixes[0].end - self._block
        saved = self._decoder.save(state, start).tensors
        # Saved once more from its end on, the axis that counts tokens has no length.
        axes = {name: t.shape.index(0) for name, t in self._decoder.save(state, state.length).tensors.items()}
        for prefix in prefixes:
            first = prefix.end - self._block
            # A view would hold on to the memory of all blocks.
            cut = {
                name: t.narrow(axes[name], first - start, self._block).clone() for name, t in saved.items()
            }
            yield prefix, TensorSnapshot(first, prefix.end, cut)


def _root(scope: str, adapter: str | None) -> bytes:
    """Return the hash that all keys of this scope and adapter begin with."""
    return hashlib.sha256(json.dumps([scope, adapter]).encode()).digest()


def _chain(ids: Sequence[int], root: bytes, block: int) -> Iterator[Prefix]:
    """Yield the beginnings of `ids` by full blocks: the hash of each covers the one before it."""
    key = root
    for end in range(block, len(ids) + 1, block):
        key = hashlib.sha256(key + _bytes_of(ids[end - block : end])).digest()
        yield Prefix(root, key, end)


def _wholes(ids: Sequence[int], root: bytes, lengths: Iterable[int]) -> Iterator[Prefix]:
    """Yield the beginnings of `ids` that have one of these lengths, the shortest first."""
    running, done = hashlib.sha256(root), 0
    for end in sorted(length for length in lengths if length <= len(ids)):
        running.update(_bytes_of(ids[done:end]))
        done = end
        yield Prefix(root, running.copy().digest(), end)


def _bytes_of(ids: Sequence[int]) -> bytes:
    return array("q", ids).tobytes()
