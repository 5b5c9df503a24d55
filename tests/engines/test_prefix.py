"""A prompt that begins like one that was read starts from there, if the same people may read both."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from markgraph.engines.native.prefix import PrefixCache
from tests.engines.recording import Read, Recorder, fingerprint, tokens_of

BLOCK = 4
BLOCK_BYTES = 2 * BLOCK * 2 * 2
"""Two layers of two bfloat16 a token."""
STATE_BYTES = 32 * 4
PLENTY = 1 << 20

Place = tuple[str, str | None]
PLACES: list[Place] = [("ada", None), ("bob", None), ("ada", "legal"), ("ada", "")]


def keep(cache: PrefixCache, ids: Sequence[int], scope: str = "ada", adapter: str | None = None) -> None:
    cache.keep(ids, Read(list(ids)), scope, adapter)


def blocks(max_bytes: int = PLENTY) -> PrefixCache:
    return PrefixCache(Recorder(cumulative=False), max_bytes, block=BLOCK)


def wholes(max_bytes: int = PLENTY) -> PrefixCache:
    return PrefixCache(Recorder(cumulative=True), max_bytes)


def test_finds_the_full_blocks_that_two_prompts_share() -> None:
    cache = blocks()
    keep(cache, [1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert tokens_of(cache.longest([1, 2, 3, 4, 5, 6, 7, 8, 10, 11], "ada", None)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert tokens_of(cache.longest([1, 2, 3, 4, 0, 6, 7, 8, 10, 11], "ada", None)) == [1, 2, 3, 4]
    assert cache.longest([0, 2, 3, 4, 5, 6, 7, 8, 9], "ada", None) == []


@pytest.mark.parametrize("make", [blocks, wholes])
def test_leaves_one_token_to_read(make: type[PrefixCache]) -> None:
    cache = make()
    for end in (4, 8):
        keep(cache, list(range(end)))
    assert [s.end for s in cache.longest(list(range(8)), "ada", None)][-1:] == [4]
    assert [s.end for s in cache.longest(list(range(9)), "ada", None)][-1:] == [8]


def test_finds_the_longest_state_that_was_kept_and_none_in_between() -> None:
    cache = wholes()
    for end in (3, 7):
        keep(cache, list(range(end)))
    (found,) = cache.longest(list(range(20)), "ada", None)
    assert found.end == 7
    assert torch.equal(found.tensors["state"], fingerprint(range(7)))
    (shorter,) = cache.longest([0, 1, 2, 3, 9, 9, 9, 9], "ada", None)
    assert shorter.end == 3
    assert cache.longest([0, 1], "ada", None) == []


@pytest.mark.parametrize("make", [blocks, wholes])
def test_does_not_tell_one_scope_or_adapter_what_another_read(make: type[PrefixCache]) -> None:
    cache = make()
    keep(cache, list(range(8)), "ada", "legal")
    for scope, adapter in [("bob", "legal"), ("ada", None), ("ada", "other"), ("", "legal"), ("ada", "")]:
        assert cache.longest(list(range(9)), scope, adapter) == []
    assert cache.longest(list(range(9)), "ada", "legal") != []


def test_keeps_what_prompts_share_once() -> None:
    cache = blocks()
    keep(cache, list(range(8)))
    keep(cache, [*range(8), 20, 21, 22, 23])
    keep(cache, [*range(8), 30, 31, 32, 33])
    assert cache.nbytes == 4 * BLOCK_BYTES


def test_drops_the_end_of_a_sequence_before_its_beginning() -> None:
    cache = blocks(max_bytes=3 * BLOCK_BYTES)
    keep(cache, list(range(12)))
    keep(cache, [50, 51, 52, 53])
    assert len(cache.longest(list(range(13)), "ada", None)) == 2
    assert cache.evictions == 1


def test_drops_what_was_used_least_recently() -> None:
    cache = wholes(max_bytes=2 * STATE_BYTES)
    keep(cache, [1, 1])
    keep(cache, [2, 2])
    cache.longest([1, 1, 1], "ada", None)
    keep(cache, [3, 3])
    assert [bool(cache.longest([n, n, n], "ada", None)) for n in (1, 2, 3)] == [True, False, True]


def test_keeps_the_beginning_of_what_does_not_fit_as_a_whole() -> None:
    cache = blocks(max_bytes=2 * BLOCK_BYTES)
    keep(cache, list(range(40)))
    assert tokens_of(cache.longest(list(range(40)), "ada", None)) == list(range(8))


def test_keeps_only_what_the_state_has_read() -> None:
    cache = blocks()
    cache.keep(list(range(12)), Read(list(range(6))), "ada", None)
    assert tokens_of(cache.longest(list(range(12)), "ada", None)) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="read 6 tokens"):
        cache.keep([0, 1], Read(list(range(6))), "ada", None)


def test_counts_lookups_hits_and_tokens() -> None:
    cache = blocks()
    keep(cache, list(range(8)))
    cache.longest(list(range(9)), "ada", None)
    cache.longest([7] * 9, "ada", None)
    assert (cache.stats.lookups, cache.stats.hits, cache.stats.tokens_reused) == (2, 1, 8)


class Oracle:
    """The same cache by brute force: tokens for hashes, a sorted list for recency."""

    def __init__(self, room: int, block: int | None) -> None:
        self.room, self.block, self.used = room, block, list[tuple[Place, tuple[int, ...]]]()

    def prefixes(self, ids: Sequence[int]) -> list[tuple[int, ...]]:
        """Return what would be kept of `ids`, the shortest first."""
        ends = range(self.block, len(ids) + 1, self.block) if self.block else [len(ids)] * bool(ids)
        return [tuple(ids[:end]) for end in ends]

    def use(self, place: Place, prefixes: list[tuple[int, ...]]) -> None:
        """Move these to the recent end, the shortest last, and drop from the other end what has no room."""
        keys = [(place, prefix) for prefix in reversed(prefixes)]
        self.used = [key for key in self.used if key not in keys] + keys
        self.used = self.used[max(0, len(self.used) - self.room) :]

    def longest(self, ids: Sequence[int], place: Place) -> int:
        found = [
            p for where, p in self.used if where == place and len(p) < len(ids) and tuple(ids[: len(p)]) == p
        ]
        best = max(found, key=len, default=())
        if best:
            self.use(place, self.prefixes(best))
        return len(best)


SEQUENCES = st.lists(st.integers(0, 1), max_size=14)
CALLS = st.lists(st.tuples(st.booleans(), SEQUENCES, st.sampled_from(PLACES)), max_size=25)


@given(calls=CALLS, room=st.integers(0, 6), cumulative=st.booleans())
@settings(max_examples=300)
def test_finds_what_a_search_by_brute_force_finds_within_the_bound(
    calls: list[tuple[bool, list[int], Place]], room: int, cumulative: bool
) -> None:
    max_bytes = room * (STATE_BYTES if cumulative else BLOCK_BYTES)
    cache = wholes(max_bytes) if cumulative else blocks(max_bytes)
    oracle = Oracle(room, None if cumulative else BLOCK)
    for keeps, ids, place in calls:
        if keeps:
            keep(cache, ids, *place)
            oracle.use(place, oracle.prefixes(ids))
        else:
            found = cache.longest(ids, *place)
            assert (found[-1].end if found else 0) == oracle.longest(ids, place)
            if found and cumulative:
                assert torch.equal(found[0].tensors["state"], fingerprint(ids[: found[0].end]))
            elif found:
                assert tokens_of(found) == ids[: found[-1].end]
        assert cache.nbytes <= max_bytes
