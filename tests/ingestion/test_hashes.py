"""Files are hashed again only when they may have changed, and always when they have."""

import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from markgraph.ingestion import hashes
from markgraph.ingestion.corpora import Folder, Item
from markgraph.ingestion.hashes import fingerprints
from markgraph.ingestion.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


@pytest.fixture
def item(tmp_path: Path) -> Item:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_bytes(b"first")
    (item,) = Folder(tmp_path / "docs").items()
    return item


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def settle() -> None:
    """Wait until a hash that is made now is kept."""
    time.sleep(hashes.SETTLED / 1e9 + 0.1)


def test_a_file_that_was_just_written_is_hashed_again(item: Item, ledger: Ledger) -> None:
    assert item.path is not None
    stat = item.path.stat()
    assert fingerprints(ledger, [item]) == {item.source: digest(b"first")}
    item.path.write_bytes(b"other")  # the same size, and perhaps within the same tick
    os.utime(item.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprints(ledger, [item]) == {item.source: digest(b"other")}


def test_a_hash_is_kept_only_of_a_file_that_was_left_alone(
    item: Item, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> int:
        with ledger.transaction() as database:
            return int(database.execute("SELECT count(*) FROM hashes").fetchone()[0])

    with monkeypatch.context() as slow:  # a busy machine may take seconds to get here
        slow.setattr(hashes, "SETTLED", 600 * 10**9)
        fingerprints(ledger, [item])
    assert kept() == 0, "in the same tick of the clock it could change, and nothing would tell"
    settle()
    fingerprints(ledger, [item])
    assert kept() == 1


def test_a_settled_file_is_hashed_once(item: Item, ledger: Ledger) -> None:
    settle()
    assert fingerprints(ledger, [item]) == {item.source: digest(b"first")}
    with ledger.transaction() as database:  # what is there now can only come from here
        database.execute("UPDATE hashes SET sha256 = 'kept'")
    assert fingerprints(ledger, [item]) == {item.source: "kept"}


def test_a_change_is_seen_though_size_and_time_are_the_same(item: Item, ledger: Ledger) -> None:
    assert item.path is not None
    settle()
    stat = item.path.stat()
    fingerprints(ledger, [item])
    item.path.write_bytes(b"other")
    os.utime(item.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert item.path.stat().st_mtime_ns == stat.st_mtime_ns
    assert fingerprints(ledger, [item]) == {item.source: digest(b"other")}


def test_another_file_in_its_place_is_seen(item: Item, ledger: Ledger) -> None:
    assert item.path is not None
    twin = item.path.with_name("twin.md")
    twin.write_bytes(b"other")
    os.utime(twin, ns=(0, item.path.stat().st_mtime_ns))
    settle()
    fingerprints(ledger, [item])
    twin.replace(item.path)
    assert fingerprints(ledger, [item]) == {item.source: digest(b"other")}


def test_a_file_that_cannot_be_read_has_no_fingerprint(item: Item, ledger: Ledger) -> None:
    assert item.path is not None
    fingerprints(ledger, [item])
    item.path.unlink()
    assert fingerprints(ledger, [item]) == {item.source: ""}


def test_what_is_no_file_says_its_own_fingerprint(item: Item, ledger: Ledger) -> None:
    assert fingerprints(ledger, [Item("row", "abc", item.load)]) == {"row": "abc"}
